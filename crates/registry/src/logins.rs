//! The logins that this machine has already: Docker's and Podman's configuration, and their credential helpers.
//!
//! Invariant: nothing is written, a password stands in no argument and no message, and a helper that says nothing useful
//! in time is an error that names it. A registry of which nothing is known is asked anonymously.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::{Credentials, RegistryError};

/// A helper may ask a person to unlock a keychain, but not for ever.
const PATIENCE: Duration = Duration::from_mins(1);
/// A configuration or an answer above this is none.
const LONGEST: u64 = 4 * 1024 * 1024;
/// What Docker Hub's login is kept under, whatever it is called otherwise.
const HUB: &str = "https://index.docker.io/v1/";
/// What a helper says of a server that it does not know (docker-credential-helpers, `credentials/error.go`).
const NOT_KNOWN: &str = "credentials not found";
/// A user by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The logins of this machine.
///
/// ```no_run
/// use nuages_registry::{Logins, Options, Registry};
///
/// # async fn example() -> Result<(), nuages_registry::RegistryError> {
/// let credentials = Logins::of_this_machine().credentials("ghcr.io", "team/blog").await?;
/// let registry = Registry::new("ghcr.io", credentials, Options::default())?;
/// println!("{:?}", registry.repository("team/blog").tags().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logins {
    files: Vec<PathBuf>,
}

impl Logins {
    /// Those of `docker login` and `podman login`: `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`, and where these programs keep
    /// them otherwise.
    pub fn of_this_machine() -> Self {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        let home = folder("HOME").or_else(|| folder("USERPROFILE"));
        let below = |home: &Option<PathBuf>, rest: &str| home.as_ref().map(|home| home.join(rest));
        let docker = folder("DOCKER_CONFIG").or_else(|| below(&home, ".docker"));
        let config = folder("XDG_CONFIG_HOME").or_else(|| below(&home, ".config"));
        let files = [
            folder("REGISTRY_AUTH_FILE"),
            below(&docker, "config.json"),
            below(&folder("XDG_RUNTIME_DIR"), "containers/auth.json"),
            below(&config, "containers/auth.json"),
        ];
        Self::of_files(files.into_iter().flatten())
    }

    /// Those of these files, in this order. A file that is not there holds none.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }

    /// Who we are to a repository of a registry. The first file that knows the registry decides.
    pub async fn credentials(&self, host: &str, repository: &str) -> Result<Credentials, RegistryError> {
        for file in &self.files {
            let Some(config) = read(file).await? else { continue };
            if let Some(found) = config.find(file, host, repository).await? {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }
}

/// What of `config.json` and `auth.json` says who we are (docker/cli, "Sample configuration file"; containers-auth.json(5)).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: HashMap<String, Login>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
}

#[derive(Deserialize, Default, Clone)]
struct Login {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

async fn read(file: &Path) -> Result<Option<Config>, RegistryError> {
    let broken = |source| RegistryError::File {
        what: "read the logins in",
        path: file.to_owned(),
        source,
    };
    let opened = match tokio::fs::File::open(file).await {
        Ok(opened) => opened,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(broken(error)),
    };
    let mut content = Vec::new();
    opened.take(LONGEST).read_to_end(&mut content).await.map_err(broken)?;
    if content.trim_ascii().is_empty() {
        return Ok(None);
    }
    // serde's message may quote a value, and values are passwords here: only the place is told.
    serde_json::from_slice(&content).map(Some).map_err(|error| {
        unreadable(
            file,
            format!(
                "line {}, column {} is not as Docker writes it",
                error.line(),
                error.column()
            ),
        )
    })
}

fn unreadable(file: &Path, why: impl Into<String>) -> RegistryError {
    RegistryError::Logins {
        file: file.to_owned(),
        why: why.into(),
    }
}

impl Config {
    async fn find(&self, file: &Path, host: &str, repository: &str) -> Result<Option<Credentials>, RegistryError> {
        let keys = keys(host, repository);
        let helper = keys.iter().find_map(|key| self.cred_helpers.get(key));
        if let Some(helper) = helper {
            return ask(helper, server(host), file).await;
        }
        // A key may be written as an address: Docker takes its host.
        let login = keys.iter().find_map(|key| {
            let plain = self.auths.get(key);
            plain.or_else(|| {
                self.auths
                    .iter()
                    .find(|(other, _)| bare(other) == key)
                    .map(|(_, login)| login)
            })
        });
        if let Some(login) = login
            && let Some(credentials) = login.credentials(file, host)?
        {
            return Ok(Some(credentials));
        }
        match self.creds_store.as_deref().filter(|helper| !helper.is_empty()) {
            Some(helper) => ask(helper, server(host), file).await,
            None => Ok(None),
        }
    }
}

/// What Docker asks its helpers for.
fn server(host: &str) -> &str {
    if is_hub(host) { HUB } else { host }
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Under what a login may be kept, the narrowest first: Podman keeps one for a repository or for all below a path.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = format!("{host}/{repository}");
    while path.len() > host.len() {
        keys.push(path.clone());
        path.truncate(path.rfind('/').unwrap_or(0).max(host.len()));
    }
    keys.push(host.to_owned());
    if is_hub(host) {
        keys.extend([HUB, "docker.io", "index.docker.io"].map(str::to_owned));
    }
    keys
}

/// A key without what an address has around its host.
fn bare(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let Some(rest) = rest else { return key };
    rest.split('/').next().unwrap_or(rest)
}

impl Login {
    fn credentials(&self, file: &Path, host: &str) -> Result<Option<Credentials>, RegistryError> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::bearer(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::identity(self.identitytoken.clone())));
        }
        if self.auth.is_empty() {
            let known = !self.username.is_empty() && !self.password.is_empty();
            return Ok(known.then(|| Credentials::password(&self.username, &self.password)));
        }
        // Docker writes padding, other programs may not.
        let tolerant = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = GeneralPurpose::new(&STANDARD, tolerant)
            .decode(self.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((username, password)) = pair else {
            return Err(unreadable(
                file,
                format!("the `auth` of {host} is not USER:PASSWORD in base64"),
            ));
        };
        // Old versions of Docker filled it up with zeros.
        let password = password.trim_matches('\0');
        Ok((!username.is_empty()).then(|| Credentials::password(username, password)))
    }
}

/// Asks `docker-credential-NAME` (docker-credential-helpers, "Development"): the server on its standard input, an answer in
/// JSON on its output.
async fn ask(helper: &str, server: &str, file: &Path) -> Result<Option<Credentials>, RegistryError> {
    // The name becomes a program's: nothing that leads out of PATH.
    if !helper
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        return Err(unreadable(
            file,
            format!("`{helper}` is not the name of a credential helper"),
        ));
    }
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| RegistryError::Helper {
        program: program.clone(),
        server: server.to_owned(),
        why,
    };
    let asked = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It may say there what it wants of whoever sits before the screen, and it may say there what nobody may see.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => failed("there is no such program in PATH".into()),
                _ => failed(error.to_string()),
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that needs no server may have closed it.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(LONGEST).read_to_end(&mut answer).await;
            read.map_err(|error| failed(error.to_string()))?;
        }
        let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&answer);
            if said.contains(NOT_KNOWN) {
                return Ok(None);
            }
            let said = said.lines().next().unwrap_or_default().trim();
            let why = if said.is_empty() {
                status.to_string()
            } else {
                said.chars().take(200).collect()
            };
            return Err(failed(why));
        }
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| failed("its answer is not that of a credential helper".into()))?;
        Ok(Some(match answer.username.as_str() {
            TOKEN_USER => Credentials::identity(answer.secret),
            // Some helpers answer so for a server without a login.
            "" if answer.secret.is_empty() => Credentials::Anonymous,
            user => Credentials::password(user, answer.secret),
        }))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(failed(format!("it did not answer within {} s", PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_key_is_asked_first() {
        assert_eq!(
            keys("quay.io", "team/blog"),
            ["quay.io/team/blog", "quay.io/team", "quay.io"]
        );
        assert!(keys("docker.io", "library/python").contains(&HUB.to_owned()));
        assert_eq!(bare("https://registry.example:5000/v2/"), "registry.example:5000");
        assert_eq!(bare("registry.example/team"), "registry.example/team");
        assert_eq!((server("docker.io"), server("ghcr.io")), (HUB, "ghcr.io"));
    }
}
