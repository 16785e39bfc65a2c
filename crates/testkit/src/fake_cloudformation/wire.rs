//! What goes over the wire: forms in, XML out.
//!
//! Invariant: every text that a test chose is escaped.

use std::collections::{BTreeMap, BTreeSet};

use ::http::Response;
use bytes::Bytes;
use serde_json::Value;

use super::names::compute;
use super::stack::Event;
use crate::http::xml;

/// Action, logical id, type and replacement of everything that differs.
pub(super) fn diff(old: &Value, new: &Value, replacements: &BTreeMap<String, String>) -> Vec<[String; 4]> {
    let resources = |t: &Value| t["Resources"].as_object().cloned().unwrap_or_default();
    let (old, new) = (resources(old), resources(new));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |action: &str, id: &str, resource: &Value, replacement: &str| {
        [action, id, resource["Type"].as_str().unwrap_or_default(), replacement].map(str::to_owned)
    };
    ids.into_iter()
        .filter_map(|id| match (old.get(id), new.get(id)) {
            (None, Some(added)) => Some(change("Add", id, added, "")),
            (Some(removed), None) => Some(change("Remove", id, removed, "")),
            (Some(before), Some(after)) if before != after => {
                let replacement = replacements.get(id).map_or("False", String::as_str);
                Some(change("Modify", id, after, replacement))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn change_xml([action, id, kind, replacement]: &[String; 4]) -> String {
    let replacement = match replacement.as_str() {
        "" => String::new(),
        r => format!("<Replacement>{r}</Replacement><Scope><member>Properties</member></Scope>"),
    };
    format!(
        "<member><Type>Resource</Type><ResourceChange><Action>{action}</Action><LogicalResourceId>{id}\
         </LogicalResourceId><ResourceType>{kind}</ResourceType>{replacement}</ResourceChange></member>"
    )
}

pub(super) fn event_xml(event: &Event, name: &str, arn: &str) -> String {
    let reason = event
        .reason
        .as_deref()
        .map(|r| format!("<ResourceStatusReason>{}</ResourceStatusReason>", escape(r)));
    let token = (!event.token.is_empty()).then(|| format!("<ClientRequestToken>{}</ClientRequestToken>", event.token));
    format!(
        "<member><EventId>{}</EventId><StackId>{arn}</StackId><StackName>{name}</StackName><LogicalResourceId>{}\
         </LogicalResourceId><PhysicalResourceId>{}</PhysicalResourceId><ResourceType>{}</ResourceType>\
         <ResourceStatus>{}</ResourceStatus><Timestamp>2026-01-01T00:00:00Z</Timestamp>{}{}</member>",
        event.id,
        event.logical_id,
        event.physical_id,
        event.kind,
        event.status,
        reason.unwrap_or_default(),
        token.unwrap_or_default()
    )
}

/// The template's outputs.
pub(super) fn outputs(template: &Value) -> String {
    let all = template["Outputs"].as_object().cloned().unwrap_or_default();
    let members: Vec<String> = all
        .iter()
        .map(|(key, output)| {
            let value = compute(template, &output["Value"]);
            format!(
                "<member><OutputKey>{key}</OutputKey><OutputValue>{}</OutputValue></member>",
                escape(&value)
            )
        })
        .collect();
    members.concat()
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    xml(
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
             <RequestId>r-1</RequestId></ErrorResponse>",
            escape(message)
        ),
    )
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A form, as the query protocol sends it.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn list(&self, key: &str) -> Vec<&str> {
        let prefix = format!("{key}.member.");
        self.0
            .iter()
            .filter(|(k, _)| k.starts_with(&prefix))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let key = |n: usize, part: &str| self.get(&format!("Tags.member.{n}.{part}")).to_owned();
        // CloudFormation takes 50.
        (1..=50)
            .map(|n| (key(n, "Key"), key(n, "Value")))
            .take_while(|(k, _)| !k.is_empty())
            .collect()
    }
}

pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
