//! The environment's CloudFormation template, from types.
//!
//! Invariant: no resource is written as text. Every reference in a [`Template`] leads to a resource in it, and no ARN
//! names a partition.

pub(crate) mod database;
mod network;
mod outputs;
mod registry;
mod resources;
mod roles;
mod value;
mod web;

use std::collections::BTreeMap;

use nuages_model::ServiceName;
use serde::Serialize;
use serde_json::Value;

pub(crate) use outputs::HASH_OUTPUT;
pub use outputs::{DatabaseOutputs, OutputError, StackOutputs, WebOutputs};
pub(crate) use value::{Id, Text};

use crate::spec::{SpecError, StackSpec};
use outputs::Output;
use resources::Properties;

/// What becomes of a resource that leaves the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Policy {
    Delete,
    /// Kept, unless the stack's very first creation fails.
    RetainExceptOnCreate,
    Retain,
    Snapshot,
}

/// Both policies of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keep {
    on_delete: Policy,
    on_replace: Policy,
}

impl Keep {
    /// Goes with the stack; said because it holds something.
    const NOTHING: Self = Self {
        on_delete: Policy::Delete,
        on_replace: Policy::Delete,
    };
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_policy: Option<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_replace_policy: Option<Policy>,
    properties: Value,
}

/// A template that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    #[serde(rename = "AWSTemplateFormatVersion")]
    version: &'static str,
    description: String,
    resources: BTreeMap<Id, Resource>,
    outputs: BTreeMap<Id, Output>,
    #[serde(skip)]
    tags: [(&'static str, String); 3],
    #[serde(skip)]
    hash: String,
}

impl Template {
    /// Makes the template of an environment.
    ///
    /// ```no_run
    /// # fn example(spec: &nuages_infra::StackSpec) -> Result<(), nuages_infra::SpecError> {
    /// let template = nuages_infra::Template::render(spec)?;
    /// assert!(template.body().contains("AWS::EC2::VPC"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn render(spec: &StackSpec) -> Result<Self, SpecError> {
        spec.validate()?;
        let mut template = Self {
            version: "2010-09-09",
            description: format!("The environment {} of {}, made by nuages", spec.env, spec.app),
            resources: BTreeMap::new(),
            outputs: BTreeMap::new(),
            tags: stack_tags(spec),
            hash: String::new(),
        };
        network::add(&mut template, spec);
        registry::add(&mut template, spec);
        web::add(&mut template, spec);
        database::add(&mut template, spec);
        roles::add(&mut template, spec);
        outputs::add(&mut template, spec);
        template.hash = template.compute_hash();
        let hash = template.hash.clone();
        outputs::add_hash(&mut template, &hash);
        debug_assert_eq!(template.dangling(), Vec::<String>::new());
        Ok(template)
    }

    /// The text that CloudFormation gets: compact, since it takes at most 51,200 bytes in a request.
    pub fn body(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The text for people.
    pub fn pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What the template and its tags hash to. Equal to the stack's `TemplateHash` means that nothing is to be done.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What the stack and, by inheritance, everything in it is tagged with.
    pub fn tags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.tags.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// Every resource's logical id and type.
    pub fn resource_types(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.resources.iter().map(|(id, resource)| (id.as_ref(), resource.kind))
    }

    /// How many resources it makes.
    pub fn resource_count(&self) -> usize {
        self.resources.len()
    }

    fn compute_hash(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(self.body().as_bytes());
        for (key, value) in self.tags() {
            context.update(format!("{key}={value}\n").as_bytes());
        }
        hex::encode(context.finish())
    }

    fn add<P: Properties>(&mut self, id: impl Into<Id>, properties: &P) -> &mut Resource {
        let resource = Resource {
            kind: P::TYPE,
            depends_on: Vec::new(),
            deletion_policy: None,
            update_replace_policy: None,
            // Structs of texts, numbers and lists: they have no way of failing to be JSON.
            properties: serde_json::to_value(properties).unwrap_or_default(),
        };
        self.resources.entry(id.into()).insert_entry(resource).into_mut()
    }

    fn output(&mut self, id: impl Into<Id>, description: &str, value: impl Into<Text>) {
        self.outputs.insert(
            id.into(),
            Output {
                description: description.to_owned(),
                value: value.into(),
            },
        );
    }

    /// References that lead nowhere.
    fn dangling(&self) -> Vec<String> {
        let mut named = Vec::new();
        collect_references(&serde_json::to_value(self).unwrap_or_default(), &mut named);
        named.retain(|id| !id.starts_with("AWS::") && !self.resources.contains_key(id.as_str()));
        named
    }
}

/// Every id that a `Ref`, a `Fn::GetAtt`, a `Fn::Sub` or a `DependsOn` names.
fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("Ref", Value::String(id)) => found.push(id.clone()),
                    ("Fn::GetAtt", Value::Array(parts)) => {
                        found.extend(parts.first().and_then(Value::as_str).map(str::to_owned));
                    }
                    ("Fn::Sub", Value::String(text)) => {
                        let names = text
                            .split("${")
                            .skip(1)
                            .filter_map(|part| part.split(['}', '.']).next());
                        found.extend(names.map(str::to_owned));
                    }
                    ("DependsOn", Value::Array(ids)) => {
                        found.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => collect_references(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

impl Resource {
    fn after(&mut self, ids: &[&'static str]) -> &mut Self {
        self.depends_on.extend(ids.iter().map(|&id| Id::Borrowed(id)));
        self
    }

    fn keep(&mut self, keep: Keep) -> &mut Self {
        self.deletion_policy = Some(keep.on_delete);
        self.update_replace_policy = Some(keep.on_replace);
        self
    }
}

fn stack_tags(spec: &StackSpec) -> [(&'static str, String); 3] {
    [
        (TAG_APP, spec.app.to_string()),
        (TAG_ENV, spec.env.to_string()),
        (TAG_WORLD, spec.world.to_string()),
    ]
}

pub(crate) const TAG_APP: &str = "nuages:app";
pub(crate) const TAG_ENV: &str = "nuages:env";
pub(crate) const TAG_WORLD: &str = "nuages:world";

/// How many interface endpoints the egress `endpoints` needs.
pub(crate) fn interface_endpoints(spec: &StackSpec) -> u64 {
    network::interfaces(spec).len() as u64
}

/// The logical id of a service's log group: letters and digits only.
pub(crate) fn log_group_id(service: &ServiceName) -> String {
    let mut id = String::from("Log");
    for part in service.as_str().split('-') {
        let mut chars = part.chars();
        id.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        id.extend(chars);
    }
    id
}
