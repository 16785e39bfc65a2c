//! What went into a release, part by part, so that a plan can say which part is another one now.
//!
//! Invariant: nothing is decided by this. Whether anything changed is the fingerprint's to say; what is kept here is the
//! serving release's or nobody's, and without it the answer is only less exact.

use std::collections::BTreeMap;

use nuages_config::Config;
use nuages_model::{Digest, SecretVersion};
use nuages_releases::{EnvironmentStore, Release};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::session::TOOL_VERSION;

/// The inputs of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// A digest of Dockerfile, stage, arguments.
    pub(crate) request: Digest,
    /// What the engine says of the base image.
    pub(crate) base: Option<Digest>,
    /// The files that the build sees, with what stands in them.
    pub(crate) files: BTreeMap<String, Digest>,
}

/// Of each environment the latest are kept: a list of files is long.
#[derive(Serialize, Deserialize)]
struct Kept {
    fingerprint: String,
    tool: String,
    inputs: Inputs,
}

/// What the store remembers them as.
const REMEMBERED: &str = "inputs";

/// More names than this are a number.
const NAMED: usize = 3;

/// Keeps the inputs of the release that serves now.
pub(crate) async fn keep(store: &EnvironmentStore, fingerprint: &str, inputs: Inputs) {
    let kept = Kept {
        fingerprint: fingerprint.to_owned(),
        tool: TOOL_VERSION.to_owned(),
        inputs,
    };
    let key = store.key().to_string();
    if let Err(error) = store.store().remember(REMEMBERED, &key, &kept).await {
        tracing::debug!(%error, "what went into the release is not remembered");
    }
}

/// What is not as it was when this release was made, in words for people.
pub(crate) async fn differences<'v>(
    store: &EnvironmentStore,
    serving: &Release,
    config: &Config,
    secrets: impl Iterator<Item = (&'v str, &'v SecretVersion)>,
    now: &Inputs,
) -> String {
    let kept = store.store().recall::<Kept>(REMEMBERED, &store.key().to_string()).await;
    let kept = kept
        .ok()
        .flatten()
        .filter(|kept| kept.fingerprint == serving.fingerprint);
    let mut parts = Vec::new();
    if let Some(kept) = &kept {
        parts.extend(of_build(&kept.inputs, now));
    }
    let settings = serde_json::to_value(config).unwrap_or_default();
    let mut keys = Vec::new();
    settings_that_differ("", &serving.config, &settings, &mut keys);
    parts.extend((!keys.is_empty()).then(|| format!("{} in nuages.toml", named(&keys, "setting"))));
    let other: Vec<String> = secrets
        .filter(|(_, version)| !serving.secrets.contains(version))
        .map(|(variable, _)| variable.to_owned())
        .collect();
    parts.extend((!other.is_empty()).then(|| format!("the value of {}", named(&other, "secret"))));
    if let Some(kept) = kept.filter(|kept| kept.tool != TOOL_VERSION) {
        parts.push(format!("nuages, from {} to {TOOL_VERSION}", kept.tool));
    }
    if parts.is_empty() {
        parts.push("the project's files or the base image".to_owned());
    }
    format!("changed since {}: {}", serving.number, parts.join("; "))
}

fn of_build(before: &Inputs, now: &Inputs) -> Vec<String> {
    let differs = |path: &&String| before.files.get(*path) != now.files.get(*path);
    let mut paths: Vec<String> = before
        .files
        .keys()
        .chain(now.files.keys())
        .filter(differs)
        .cloned()
        .collect();
    paths.sort();
    paths.dedup();
    let mut parts = Vec::new();
    parts.extend((!paths.is_empty()).then(|| named(&paths, "file")));
    // The Dockerfile is among the files that the build sees, unless .dockerignore names it.
    if before.request != now.request && !paths.iter().any(|path| path.ends_with("Dockerfile")) {
        parts.push("the Dockerfile or its arguments".to_owned());
    }
    if before.base != now.base {
        parts.push("the base image".to_owned());
    }
    parts
}

/// The keys of what is not the same, as `nuages.toml` writes them.
fn settings_that_differ(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        if before != now {
            found.push(path.to_owned());
        }
        return;
    };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => settings_that_differ(&path, old, new, found),
            _ => found.push(path),
        }
    }
}

/// `a`, `b` and 5 more files.
fn named(names: &[String], what: &str) -> String {
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match names.len().checked_sub(NAMED) {
        None | Some(0) => and(&quoted(names)),
        Some(more) => {
            let plural = if more == 1 { "" } else { "s" };
            format!("{} and {more} more {what}{plural}", quoted(&names[..NAMED]).join(", "))
        }
    }
}

fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use nuages_releases::{EnvironmentKey, ReleaseDraft, Store};

    use super::*;
    use crate::environment::lease;
    use crate::resume::tests::draft;
    use crate::stack::tests::config;

    fn inputs(files: &[(&str, &str)]) -> Inputs {
        let of = |text: &str| Digest::of(text.as_bytes());
        Inputs {
            request: of("FROM base"),
            base: Some(of("base")),
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), of(text)))
                .collect(),
        }
    }

    #[test]
    fn files_are_named_and_many_are_counted() {
        let before = inputs(&[
            ("a.py", "1"),
            ("b.py", "1"),
            ("c.py", "1"),
            ("d.py", "1"),
            ("e.py", "1"),
        ]);
        let told = |now: &Inputs| of_build(&before, now).join("; ");
        assert_eq!(told(&before), "");
        let mut now = before.clone();
        now.files.remove("a.py");
        now.files.insert("f.py".into(), Digest::of(b"1"));
        assert_eq!(told(&now), "`a.py` and `f.py`", "one is gone, one is new");
        assert_eq!(told(&inputs(&[])), "`a.py`, `b.py`, `c.py` and 2 more files");
        now.request = Digest::of(b"FROM other");
        now.base = None;
        assert_eq!(
            told(&now),
            "`a.py` and `f.py`; the Dockerfile or its arguments; the base image"
        );
        now.files.insert("Dockerfile".into(), Digest::of(b"FROM other"));
        assert_eq!(told(&now), "`Dockerfile`, `a.py` and `f.py`; the base image");
    }

    #[tokio::test]
    async fn what_changed_is_told_as_far_as_it_is_known() {
        let (config, _dir) = config("staging");
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("nuages.db")).await.unwrap();
        let key = EnvironmentKey {
            account: "123456789012".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            app: "blog".parse().unwrap(),
            env: "staging".parse().unwrap(),
        };
        let store = store.environment(key).await.unwrap();
        let held = lease(&store, "deploy").await.unwrap();
        let mut settings = serde_json::to_value(&config).unwrap();
        let draft = ReleaseDraft {
            fingerprint: "first".into(),
            config: settings.clone(),
            secrets: Vec::new(),
            ..draft()
        };
        let serving = store.record_serving(held.fence(), draft).await.unwrap();
        held.release().await;
        let now = inputs(&[("posts/views.py", "2")]);
        let secret = SecretVersion {
            arn: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/mail"
                .parse()
                .unwrap(),
            key: None,
            version_id: Some("2".into()),
        };
        let told = async |serving: &Release, secrets: &[(&str, &SecretVersion)]| {
            differences(&store, serving, &config, secrets.iter().copied(), &now).await
        };

        let unknown = "changed since v1: the project's files or the base image";
        assert_eq!(told(&serving, &[]).await, unknown, "nothing was kept");
        keep(&store, "another", inputs(&[("posts/views.py", "1")])).await;
        assert_eq!(told(&serving, &[]).await, unknown, "what was kept is another release's");
        keep(&store, "first", inputs(&[("posts/views.py", "1")])).await;
        assert_eq!(told(&serving, &[]).await, "changed since v1: `posts/views.py`");

        settings["services"]["web"]["count"] = 7.into();
        settings["env"]["LOG_LEVEL"] = "debug".into();
        let serving = Release {
            draft: ReleaseDraft {
                config: settings,
                ..serving.draft.clone()
            },
            ..serving
        };
        assert_eq!(
            told(&serving, &[("MAIL", &secret)]).await,
            "changed since v1: `posts/views.py`; `env.LOG_LEVEL` and `services.web.count` in nuages.toml; the value of \
             `MAIL`"
        );
    }
}
