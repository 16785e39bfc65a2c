//! How this machine reaches its package registries, made available to the steps of a build and to nothing else.
//!
//! Invariant: what is read here is written into the build's context only, is mounted for single steps, and names no
//! host of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Where the folder is mounted in a build.
const MOUNT: &str = "/run/host";

/// pip's options that say where packages come from. Others (where they are put, what is printed) are the build's own.
const PIP_OPTIONS: [&str; 8] = [
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "no-index",
];
/// Beside those of pip: what every program understands.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
/// Variables that name a CA bundle, the most specific first.
const BUNDLES: [&str; 5] = [
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
];
/// Where systems keep theirs.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// What a build needs to know about this machine.
#[derive(Clone, Default)]
pub(crate) struct HostSetup {
    pip: Vec<(String, String)>,
    proxies: Vec<(String, String)>,
    apt: String,
    bundle: Option<Vec<u8>>,
}

impl HostSetup {
    /// Asks this machine's pip and apt.
    pub(crate) async fn detect() -> Self {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut pip = pip_options(&output("python3", &["-m", "pip", "config", "list"]).await);
        for option in PIP_OPTIONS {
            if let Some(value) = env(&format!("PIP_{}", option.to_uppercase().replace('-', "_"))) {
                pip.retain(|(name, _)| name != option);
                pip.push((option.to_owned(), value));
            }
        }
        let proxies = PROXIES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), env(name)?)))
            .collect();
        let apt = apt_options(&output("apt-config", &["dump", "Acquire"]).await);
        let named = BUNDLES.iter().filter_map(|name| env(name)).map(PathBuf::from);
        let system = SYSTEM_BUNDLES.iter().map(PathBuf::from);
        let bundle = named.chain(system).find_map(|path| std::fs::read(path).ok());
        Self {
            pip,
            proxies,
            apt,
            bundle,
        }
    }

    /// The files of the folder, `env` first among them.
    pub(crate) fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut env = String::from("export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1\n");
        let mut apt = self.apt.clone();
        for (name, value) in &self.proxies {
            let _ = writeln!(env, "export {name}={}", quoted(value));
        }
        let mut files = Vec::new();
        if let Some(bundle) = &self.bundle {
            for name in ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
                let _ = writeln!(env, "export {name}={MOUNT}/ca.crt");
            }
            let _ = writeln!(apt, "Acquire::https::CaInfo \"{MOUNT}/ca.crt\";");
            files.push(("ca.crt", bundle.clone()));
        }
        let mut pip = String::from("[global]\n");
        for (name, value) in &self.pip {
            // A list stands on lines of its own, each indented.
            let _ = writeln!(
                pip,
                "{name} = {}",
                value.split_whitespace().collect::<Vec<_>>().join("\n    ")
            );
        }
        let _ = writeln!(
            env,
            "export PIP_CONFIG_FILE={MOUNT}/pip.conf APT_CONFIG={MOUNT}/apt.conf"
        );
        files.push(("env", env.into_bytes()));
        files.push(("pip.conf", pip.into_bytes()));
        files.push(("apt.conf", apt.into_bytes()));
        files
    }

    /// Whether a registry or a proxy is on this very machine, where a build's own network does not lead.
    pub(crate) fn on_loopback(&self) -> bool {
        let values = self
            .pip
            .iter()
            .chain(&self.proxies)
            .filter(|(name, _)| !name.eq_ignore_ascii_case("no_proxy"));
        let mut texts = values.map(|(_, value)| value.as_str()).chain([self.apt.as_str()]);
        texts.any(|text| {
            ["//localhost", "//127.", "//[::1]", "@localhost", "@127."]
                .iter()
                .any(|mark| text.contains(mark))
        })
    }
}

/// Reads `pip config list`: `global.index-url='…'`, later lines winning.
fn pip_options(listed: &str) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for line in listed.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let Some((section, name)) = key.rsplit_once('.') else {
            continue;
        };
        if !matches!(section, "global" | "install") || !PIP_OPTIONS.contains(&name) {
            continue;
        }
        let value = value.trim_matches(|c| c == '\'' || c == '"').replace("\\n", " ");
        options.retain(|(known, _)| known != name);
        options.push((name.to_owned(), value));
    }
    options
}

/// Keeps what `apt-config dump` says about proxies.
fn apt_options(dumped: &str) -> String {
    let proxy = |line: &&str| {
        let key = line.split_whitespace().next().unwrap_or_default();
        key.starts_with("Acquire::http") && key.contains("::Proxy") && !line.contains("\"\"")
    };
    dumped.lines().filter(proxy).flat_map(|line| [line, "\n"]).collect()
}

/// The Debian sources of this machine, for another release; none where they are not plainly Debian's.
///
/// A source is taken when its suite is this machine's own release, it offers `main`, and no keyring but Debian's vouches
/// for it. An address with a password in it is left out: the sources stay in the image.
pub(crate) fn debian_sources(etc: &Path, wanted: &str) -> Option<String> {
    let release = std::fs::read_to_string(etc.join("os-release")).ok()?;
    let field = |name: &str| {
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    if field("ID")? != "debian" {
        return None;
    }
    let codename = field("VERSION_CODENAME")?;
    let mut entries = Vec::new();
    let mut files = vec![etc.join("apt/sources.list")];
    if let Ok(folder) = std::fs::read_dir(etc.join("apt/sources.list.d")) {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(one_line_entries(&text)),
            Some("sources") => entries.extend(deb822_entries(&text)),
            _ => {}
        }
    }
    let mut lines = Vec::new();
    for entry in entries {
        let foreign = entry
            .signed_by
            .is_some_and(|keyring| !keyring.contains("debian-archive"));
        let offers_main = entry.components.iter().any(|component| component == "main");
        if foreign || !offers_main {
            continue;
        }
        for (uri, suite) in entry
            .uris
            .iter()
            .flat_map(|uri| entry.suites.iter().map(move |suite| (uri, suite)))
        {
            let Some(rest) = suite.strip_prefix(codename.as_str()) else {
                continue;
            };
            if !matches!(rest, "" | "-updates" | "-security") || uri.contains('@') {
                continue;
            }
            lines.push(format!("deb {uri} {wanted}{rest} main\n"));
        }
    }
    lines.dedup();
    // Without the release itself the rest is of no use.
    lines
        .iter()
        .any(|line| line.contains(&format!(" {wanted} ")))
        .then(|| lines.concat())
}

#[derive(Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn one_line_entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(mut rest) = line.strip_prefix("deb ").map(str::trim_start) else {
            continue;
        };
        let mut signed_by = None;
        if let Some((options, after)) = rest.strip_prefix('[').and_then(|text| text.split_once(']')) {
            signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(str::to_owned);
            rest = after.trim_start();
        }
        let mut parts = rest.split_whitespace().map(str::to_owned);
        if let (Some(uri), Some(suite)) = (parts.next(), parts.next()) {
            entries.push(Entry {
                uris: vec![uri],
                suites: vec![suite],
                components: parts.collect(),
                signed_by,
            });
        }
    }
    entries
}

fn deb822_entries(text: &str) -> Vec<Entry> {
    let without_comments = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let mut entries = Vec::new();
    for paragraph in without_comments.split("\n\n") {
        let mut entry = Entry::default();
        let (mut binary, mut enabled) = (false, true);
        for line in paragraph.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "types" => binary = words(value).iter().any(|kind| kind == "deb"),
                "uris" => entry.uris = words(value),
                "suites" => entry.suites = words(value),
                "components" => entry.components = words(value),
                "signed-by" => entry.signed_by = Some(value.trim().to_owned()),
                "enabled" => enabled = value.trim() != "no",
                _ => {}
            }
        }
        if binary && enabled {
            entries.push(entry);
        }
    }
    entries
}

/// A program's output, or nothing where it is missing or fails: then its defaults hold.
async fn output(program: &str, args: &[&str]) -> String {
    match Command::new(program)
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()
        .await
    {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).into_owned(),
        _ => String::new(),
    }
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(setup: &HostSetup, name: &str) -> String {
        let files = setup.files();
        let (_, bytes) = files.iter().find(|(known, _)| *known == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn pip_keeps_where_packages_come_from_and_nothing_else() {
        let listed = ":env:.cert='/ca.crt'\nglobal.cert='/ca.crt'\nglobal.find-links='/wheels'\n\
                      global.index-url='https://one.example/simple'\ninstall.index-url='https://two.example/simple'\n\
                      global.trusted-host='a.example b.example'\nglobal.target='/x'\n";
        let setup = HostSetup {
            pip: pip_options(listed),
            ..HostSetup::default()
        };
        let conf = text(&setup, "pip.conf");
        assert_eq!(
            conf,
            "[global]\nindex-url = https://two.example/simple\ntrusted-host = a.example\n    b.example\n"
        );
    }

    #[test]
    fn apt_keeps_its_proxies() {
        let dumped = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\n\
                      Acquire::https::Proxy \"\";\nAcquire::Retries \"3\";\n";
        assert_eq!(
            apt_options(dumped),
            "Acquire::http::Proxy \"http://proxy.example:3128\";\n"
        );
    }

    #[test]
    fn values_survive_the_shell() {
        let setup = HostSetup {
            proxies: vec![("http_proxy".into(), "http://u:it's@proxy.example; rm -rf /".into())],
            bundle: Some(b"pem".to_vec()),
            ..HostSetup::default()
        };
        let env = text(&setup, "env");
        assert!(
            env.contains(r"export http_proxy='http://u:it'\''s@proxy.example; rm -rf /'"),
            "{env}"
        );
        assert!(env.contains("export PIP_CERT=/run/host/ca.crt"), "{env}");
        assert!(text(&setup, "apt.conf").contains("CaInfo"));
    }

    #[test]
    fn a_registry_on_this_machine_is_noticed() {
        let with = |url: &str| HostSetup {
            pip: vec![("index-url".into(), url.into())],
            ..HostSetup::default()
        };
        assert!(with("http://localhost:3141/root/pypi").on_loopback());
        assert!(with("http://user:word@127.0.0.1/simple").on_loopback());
        assert!(!with("https://mirror.example/localhost").on_loopback());
    }

    fn etc(release: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("os-release"), release).unwrap();
        std::fs::create_dir_all(folder.path().join("apt/sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join("apt").join(name), text).unwrap();
        }
        folder
    }

    const BOOKWORM: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    #[test]
    fn sources_are_carried_to_another_release() {
        let deb822 = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                      Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main contrib\n";
        let folder = etc(BOOKWORM, &[("sources.list.d/debian.sources", deb822)]);
        assert_eq!(
            debian_sources(folder.path(), "trixie").unwrap(),
            "deb http://mirror.example/debian trixie main\ndeb http://mirror.example/debian trixie-updates main\n\
             deb http://mirror.example/security trixie-security main\n"
        );
    }

    #[test]
    fn foreign_sources_and_passwords_stay_behind() {
        let list = "deb [signed-by=/etc/apt/keyrings/vendor.gpg] http://vendor.example/apt bookworm main\n\
                    deb http://vendor.example/apt stable main\n# deb http://old.example/debian bookworm main\n\
                    deb http://user:word@mirror.example/debian bookworm main\n\
                    deb [arch=amd64] http://mirror.example/debian bookworm main contrib\n";
        let folder = etc(BOOKWORM, &[("sources.list", list)]);
        assert_eq!(
            debian_sources(folder.path(), "trixie").unwrap(),
            "deb http://mirror.example/debian trixie main\n"
        );
    }

    #[test]
    fn another_distribution_offers_no_sources() {
        let list = "deb http://mirror.example/ubuntu noble main\n";
        let folder = etc(
            "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n",
            &[("sources.list", list)],
        );
        assert_eq!(debian_sources(folder.path(), "trixie"), None);
        let folder = etc(
            BOOKWORM,
            &[("sources.list", "deb http://mirror.example/x bookworm-security main\n")],
        );
        assert_eq!(
            debian_sources(folder.path(), "trixie"),
            None,
            "updates without the release are of no use"
        );
    }
}
