//! One request, as its service reads it.
//!
//! Invariant: what is kept was redacted before.

use ::http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::Value;

use super::redact;

/// One request to AWS's API, or one of a registry's `/v2`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// The service that it was signed for, such as `ecs`; `registry` for `/v2`, whose bodies are never kept.
    pub service: String,
    /// `X-Amz-Target`, in the JSON protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The input, in the JSON protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The form's fields in their order, in the query protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Vec<(String, String)>>,
    /// The body, where it is XML: of Route 53 alone, which knows no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// GET, POST, …
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The query's fields, where the service takes its input from there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// What the body is said to be.
    pub content_type: String,
}

impl Call {
    /// Reads a request that was signed, or that goes to a registry; nothing else is a call.
    pub(crate) fn read(method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let mut call = Self {
            service: Self::service_of(uri.path(), headers)?,
            target: None,
            input: None,
            form: None,
            xml: None,
            method: method.to_owned(),
            path: uri.path().to_owned(),
            query: Vec::new(),
            content_type: header("content-type").to_owned(),
        };
        if call.is_registry() {
            return Some(call);
        }
        let fields = |encoded: &[u8]| {
            let fields = url::form_urlencoded::parse(encoded).into_owned();
            fields.map(|(name, value)| redact::field(name, value)).collect()
        };
        call.query = fields(uri.query().unwrap_or_default().as_bytes());
        let target = header("x-amz-target");
        if !target.is_empty() {
            let mut input = serde_json::from_slice(body).unwrap_or(Value::Null);
            redact::json(target, &mut input);
            call.target = Some(target.to_owned());
            call.input = Some(input);
        } else if call.content_type.starts_with("application/x-www-form-urlencoded") {
            call.form = Some(fields(body));
        } else if call.service == "route53" && !body.is_empty() {
            call.xml = Some(String::from_utf8_lossy(body).into_owned());
        }
        Some(call)
    }

    /// The service that a request is for, before its body is read.
    pub(crate) fn service_of(path: &str, headers: &HeaderMap) -> Option<String> {
        let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
        // Credential=KEY/DATE/REGION/SERVICE/aws4_request
        let scope = authorization.and_then(|text| text.split("Credential=").nth(1)?.split(',').next());
        match scope.and_then(|scope| scope.split('/').nth(3)) {
            Some(service) => Some(service.to_owned()),
            // The engine pulls for a task, as its execution role.
            None if path.starts_with("/v2/") && !is_engine(headers) => Some("registry".to_owned()),
            None => None,
        }
    }

    /// Whether it went to a registry's `/v2`.
    pub fn is_registry(&self) -> bool {
        self.service == "registry"
    }

    /// The operation, such as `CreateService`.
    pub fn operation(&self) -> &str {
        match &self.target {
            Some(target) => target.rsplit('.').next().unwrap_or_default(),
            None => self.text("Action").unwrap_or_default(),
        }
    }

    /// What stands at this place of the input: a member's name, or a form's field such as `Tags.member.1.Key`.
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(form) = &self.form {
            return form
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str());
        }
        self.input.as_ref()?.get(name)?.as_str()
    }

    /// The texts in this list of the input.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.input.as_ref().and_then(|input| input.get(name)?.as_array());
        let texts = items.into_iter().flatten().filter_map(|item| item.as_str());
        texts.map(str::to_owned).collect()
    }

    /// Whether the input has this member, empty or not.
    pub fn has(&self, name: &str) -> bool {
        match &self.form {
            Some(form) => form
                .iter()
                .any(|(field, _)| field == name || field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))),
            None => self.input.as_ref().is_some_and(|input| !input[name].is_null()),
        }
    }
}

fn is_engine(headers: &HeaderMap) -> bool {
    let agent = headers.get("user-agent").and_then(|value| value.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("docker/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/secretsmanager/aws4_request, \
                          SignedHeaders=host, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

    #[test]
    fn a_secret_keeps_its_length_and_nothing_else() {
        let headers = headers(&[
            ("authorization", SIGNED),
            ("x-amz-target", "secretsmanager.CreateSecret"),
            ("x-amz-security-token", "FwoGZXIvYXdzEXAMPLE"),
        ]);
        let body = br#"{"Name":"blog/key","SecretString":"hunter2"}"#;
        let call = Call::read("POST", &"/".parse().unwrap(), &headers, body).unwrap();
        assert_eq!(
            (call.service.as_str(), call.operation()),
            ("secretsmanager", "CreateSecret")
        );
        assert_eq!(call.text("Name"), Some("blog/key"));
        assert_eq!(call.text("SecretString"), Some("*******"));
        let kept = serde_json::to_string(&call).unwrap();
        for secret in ["hunter2", "AKIDEXAMPLE", "5d672d79", "FwoGZX"] {
            assert!(!kept.contains(secret), "{kept}");
        }
    }

    #[test]
    fn a_form_is_read_field_by_field() {
        let scope = SIGNED.replace("secretsmanager", "rds");
        let headers = headers(&[
            ("authorization", &scope),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);
        let body = b"Action=CreateDBInstance&MasterUserPassword=p%26ss&Tags.Tag.1.Key=a+b";
        let call = Call::read("POST", &"/".parse().unwrap(), &headers, body).unwrap();
        assert_eq!(call.operation(), "CreateDBInstance");
        assert_eq!(call.text("MasterUserPassword"), Some("****"));
        assert_eq!(call.text("Tags.Tag.1.Key"), Some("a b"));
        assert!(call.has("Tags") && !call.has("Tag"));
    }

    #[test]
    fn what_goes_to_a_registry_is_kept_without_its_body() {
        let call = Call::read(
            "PATCH",
            &"/v2/blog/blobs/uploads/1?_state=x".parse().unwrap(),
            &HeaderMap::new(),
            b"layer",
        )
        .unwrap();
        assert!(call.is_registry());
        assert_eq!(
            (call.path.as_str(), &call.input, &call.form),
            ("/v2/blog/blobs/uploads/1", &None, &None)
        );
        assert_eq!(
            Call::read("GET", &"/posts/".parse().unwrap(), &HeaderMap::new(), b""),
            None
        );
    }
}
