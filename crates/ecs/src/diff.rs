//! What differs between two task definitions, and nothing else.
//!
//! Invariant: two definitions that ECS treats alike have equal views: the API's defaults are filled in, names instead of
//! positions order what has names, and what the API adds on its own is left out. A field that this crate does not write
//! but that somebody set stands in the view too, so that it never passes for equal.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_ecs::types as ecs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::definition::TaskDefinitionSpec;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where it stands, such as `containers.web.image`.
    pub path: String,
    /// What it is; none where it is absent.
    pub before: Option<String>,
    /// What it becomes; none where it goes.
    pub after: Option<String>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} → {after}", self.path),
            (None, Some(after)) => write!(f, "+ {}: {after}", self.path),
            (before, None) => write!(f, "- {}: {}", self.path, before.as_deref().unwrap_or_default()),
        }
    }
}

/// All that differs between a live definition and the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionDiff {
    /// Field by field, in the order of their paths.
    pub changes: Vec<FieldChange>,
    /// The same as a unified diff of the two views.
    pub text: String,
}

impl DefinitionDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What differs between the live definition (none for a first one) and the one asked for.
pub fn diff(live: Option<&ecs::TaskDefinition>, spec: &TaskDefinitionSpec) -> DefinitionDiff {
    let before = live.map_or(Value::Object(Map::new()), view_of_live);
    let after = view_of_spec(spec);
    let (flat_before, flat_after) = (flatten(&before), flatten(&after));
    let mut paths: Vec<&String> = flat_before.keys().chain(flat_after.keys()).collect();
    paths.sort();
    paths.dedup();
    let changes = paths
        .into_iter()
        .filter(|path| flat_before.get(*path) != flat_after.get(*path))
        .map(|path| FieldChange {
            path: path.clone(),
            before: flat_before.get(path).cloned(),
            after: flat_after.get(path).cloned(),
        })
        .collect();
    let (before, after) = (pretty(&before), pretty(&after));
    let text = TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(2)
        .header("live", "new")
        .to_string();
    DefinitionDiff { changes, text }
}

fn pretty(view: &Value) -> String {
    // Alternate Display of a Value is its pretty form.
    format!("{view:#}\n")
}

fn flatten(view: &Value) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(&path, value, into);
                }
            }
            Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
            other => drop(into.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut flat = BTreeMap::new();
    walk("", view, &mut flat);
    flat
}

/// The parts of a definition, from whichever side it comes.
struct Parts<'a> {
    family: &'a str,
    cpu: Option<String>,
    memory: Option<String>,
    execution_role: Option<&'a str>,
    task_role: Option<&'a str>,
    network_mode: Option<&'a str>,
    architecture: Option<&'a str>,
    storage: Option<i32>,
    containers: &'a [ecs::ContainerDefinition],
    other: Option<String>,
}

pub(crate) fn view_of_spec(spec: &TaskDefinitionSpec) -> Value {
    view(&Parts {
        family: &spec.family,
        cpu: Some(spec.cpu.to_string()),
        memory: Some(spec.memory.to_string()),
        execution_role: Some(spec.execution_role.as_str()),
        task_role: spec.task_role.as_ref().map(AsRef::as_ref),
        network_mode: Some("awsvpc"),
        architecture: Some(spec.platform.to_ecs().as_str()),
        storage: spec.ephemeral_storage.map(i32::from),
        containers: &spec.to_ecs(),
        other: None,
    })
}

fn view_of_live(live: &ecs::TaskDefinition) -> Value {
    view(&Parts {
        family: live.family().unwrap_or_default(),
        cpu: live.cpu().map(str::to_owned),
        memory: live.memory().map(str::to_owned),
        execution_role: live.execution_role_arn(),
        task_role: live.task_role_arn(),
        network_mode: live.network_mode().map(ecs::NetworkMode::as_str),
        architecture: live
            .runtime_platform()
            .and_then(|p| p.cpu_architecture())
            .map(ecs::CpuArchitecture::as_str),
        storage: live.ephemeral_storage().map(ecs::EphemeralStorage::size_in_gib),
        containers: live.container_definitions(),
        other: other_of_task(live),
    })
}

fn set(view: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        view.insert(name.to_owned(), value.into());
    }
}

fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|v| !v.is_empty())
}

fn view(parts: &Parts<'_>) -> Value {
    let mut view = Map::new();
    set(&mut view, "family", Some(parts.family));
    set(&mut view, "cpu", parts.cpu.clone());
    set(&mut view, "memory", parts.memory.clone());
    set(&mut view, "execution-role", text(parts.execution_role));
    set(&mut view, "task-role", text(parts.task_role));
    set(
        &mut view,
        "network-mode",
        Some(text(parts.network_mode).unwrap_or("bridge")),
    );
    // Without a runtime platform Fargate takes x86-64.
    set(
        &mut view,
        "architecture",
        Some(text(parts.architecture).unwrap_or("X86_64")),
    );
    set(
        &mut view,
        "storage",
        Some(parts.storage.filter(|gib| *gib > 0).unwrap_or(20)),
    );
    set(&mut view, "other", parts.other.clone());
    let containers = parts
        .containers
        .iter()
        .map(|c| (c.name().unwrap_or_default().to_owned(), container(c)))
        .collect();
    view.insert("containers".into(), Value::Object(containers));
    sorted(Value::Object(view))
}

/// The same with every object's names in order: whether `serde_json` keeps them so depends on what else is built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().map(|(name, v)| (name, sorted(v))).collect();
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

fn container(c: &ecs::ContainerDefinition) -> Value {
    let mut view = Map::new();
    set(&mut view, "image", c.image());
    set(&mut view, "essential", Some(c.essential().unwrap_or(true)));
    set(&mut view, "stop-timeout", Some(c.stop_timeout().unwrap_or(30)));
    set(
        &mut view,
        "read-only-root",
        Some(c.readonly_root_filesystem().unwrap_or(false)),
    );
    set(&mut view, "user", text(c.user()));
    // The order of a command's words is its meaning.
    set(
        &mut view,
        "command",
        Some(c.command())
            .filter(|w| !w.is_empty())
            .map(|words| json!(words).to_string()),
    );
    let env: Map<_, _> = c
        .environment()
        .iter()
        .map(|e| {
            (
                e.name().unwrap_or_default().to_owned(),
                Value::from(e.value().unwrap_or_default()),
            )
        })
        .collect();
    set(&mut view, "env", Some(env).filter(|m| !m.is_empty()));
    let secrets: Map<_, _> = c
        .secrets()
        .iter()
        .map(|s| (s.name().to_owned(), Value::from(s.value_from())))
        .collect();
    set(&mut view, "secrets", Some(secrets).filter(|m| !m.is_empty()));
    let ports: Map<_, _> = c.port_mappings().iter().map(port).collect();
    set(&mut view, "ports", Some(ports).filter(|m| !m.is_empty()));
    let labels = c.docker_labels().into_iter().flatten();
    let labels: Map<_, _> = labels.map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    set(&mut view, "labels", Some(labels).filter(|m| !m.is_empty()));
    if let Some(log) = c.log_configuration() {
        let mut options: Map<String, Value> = Map::new();
        options.insert("driver".into(), log.log_driver().as_str().into());
        options.extend(
            log.options()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), Value::from(v.as_str()))),
        );
        view.insert("log".into(), Value::Object(options));
    }
    if let Some(health) = c.health_check() {
        view.insert(
            "health".into(),
            json!({
                "command": json!(health.command()).to_string(),
                "interval": health.interval().unwrap_or(30),
                "timeout": health.timeout().unwrap_or(5),
                "retries": health.retries().unwrap_or(3),
                "start-period": health.start_period().unwrap_or(0),
            }),
        );
    }
    let init = c
        .linux_parameters()
        .and_then(ecs::LinuxParameters::init_process_enabled)
        .unwrap_or(false);
    set(&mut view, "init", Some(init));
    set(&mut view, "other", other_of_container(c));
    Value::Object(view)
}

fn port(mapping: &ecs::PortMapping) -> (String, Value) {
    let container = mapping.container_port().unwrap_or_default();
    // Under awsvpc the host's port is the container's, and the API fills it in.
    let host = mapping.host_port().filter(|port| *port != 0).unwrap_or(container);
    let protocol = mapping.protocol().map_or("tcp", ecs::TransportProtocol::as_str);
    (container.to_string(), format!("{host}/{protocol}").into())
}

fn is_empty<T>(list: Option<&Vec<T>>) -> bool {
    list.is_none_or(Vec::is_empty)
}

/// What somebody set of a container that this crate never sets.
fn other_of_container(c: &ecs::ContainerDefinition) -> Option<String> {
    let mut rest = c.clone();
    rest.name = None;
    rest.image = None;
    rest.essential = None;
    rest.stop_timeout = None;
    rest.readonly_root_filesystem = None;
    rest.user = None;
    rest.command = None;
    rest.environment = None;
    rest.secrets = None;
    rest.port_mappings = None;
    rest.docker_labels = None;
    rest.log_configuration = None;
    rest.health_check = None;
    rest.linux_parameters = rest.linux_parameters.take().and_then(other_linux_parameters);
    if rest
        .version_consistency
        .as_ref()
        .is_some_and(|v| v.as_str() == "enabled")
    {
        rest.version_consistency = None;
    }
    // The API answers absent lists as empty ones.
    macro_rules! forget_empty {
        ($($field:ident),*) => { $(if is_empty(rest.$field.as_ref()) { rest.$field = None; })* };
    }
    forget_empty!(
        links,
        entry_point,
        environment_files,
        mount_points,
        volumes_from,
        depends_on,
        dns_servers,
        dns_search_domains,
        extra_hosts,
        docker_security_options,
        ulimits,
        system_controls,
        resource_requirements,
        credential_specs
    );
    (rest != ecs::ContainerDefinition::builder().build()).then(|| set_fields(&format!("{rest:?}")))
}

fn other_linux_parameters(mut linux: ecs::LinuxParameters) -> Option<ecs::LinuxParameters> {
    linux.init_process_enabled = None;
    if is_empty(linux.devices.as_ref()) {
        linux.devices = None;
    }
    if is_empty(linux.tmpfs.as_ref()) {
        linux.tmpfs = None;
    }
    (linux != ecs::LinuxParameters::builder().build()).then_some(linux)
}

/// What somebody set of a definition that this crate never sets.
fn other_of_task(live: &ecs::TaskDefinition) -> Option<String> {
    let mut found = Vec::new();
    if !live.volumes().is_empty() {
        found.push("volumes");
    }
    if !live.placement_constraints().is_empty() {
        found.push("placement constraints");
    }
    if live.proxy_configuration().is_some() {
        found.push("proxy configuration");
    }
    if live.pid_mode().is_some_and(|m| !m.as_str().is_empty()) {
        found.push("pid mode");
    }
    if live.ipc_mode().is_some_and(|m| !m.as_str().is_empty()) {
        found.push("ipc mode");
    }
    if live.enable_fault_injection() == Some(true) {
        found.push("fault injection");
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// The `field: Some(…)` parts of a struct's debug text; the absent ones say nothing.
fn set_fields(debug: &str) -> String {
    let inner = debug
        .split_once('{')
        .map_or(debug, |(_, inner)| inner)
        .trim_end_matches('}');
    inner
        .split(", ")
        .filter(|part| !part.trim_end().ends_with(": None"))
        .collect::<Vec<_>>()
        .join(", ")
        .trim()
        .to_owned()
}
