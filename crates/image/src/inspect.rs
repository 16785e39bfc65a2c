//! What an image says of itself.
//!
//! Invariant: read from the engine's own record; nothing is guessed.

use nuages_model::Digest;
use serde::{Deserialize, Serialize};

use crate::error::engine_error;
use crate::{Engine, ImageError};

/// An image's configuration, as far as a deployment needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub command: Vec<String>,
    /// `USER`; empty means root.
    pub user: String,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `EXPOSE`, such as `8000/tcp`, sorted.
    pub exposed_ports: Vec<String>,
    /// Labels, sorted by name.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The platform, such as `linux/amd64`.
    pub platform: String,
    /// The size in the engine, uncompressed.
    pub size: u64,
    /// The layers' digests, uncompressed, the base's first.
    pub layers: Vec<Digest>,
}

impl ImageConfig {
    /// The command line, if it runs below a shell that keeps signals to itself (`CMD gunicorn …` without brackets).
    pub fn shell_form(&self) -> Option<&str> {
        let words: Vec<&str> = self
            .entrypoint
            .iter()
            .chain(&self.command)
            .map(String::as_str)
            .collect();
        match words.as_slice() {
            ["/bin/sh" | "/bin/bash" | "sh" | "bash", "-c", command] if !command.trim_start().starts_with("exec ") => {
                Some(command)
            }
            _ => None,
        }
    }

    /// Whether the image runs as root.
    pub fn runs_as_root(&self) -> bool {
        matches!(self.user.split(':').next().unwrap_or_default(), "" | "0" | "root")
    }
}

/// Asks the engine for an image's configuration, by id or name.
///
/// ```no_run
/// # async fn example(engine: &nuages_image::Engine) -> Result<(), nuages_image::ImageError> {
/// let config = nuages_image::inspect(engine, "python:3.13-slim").await?;
/// println!("{} {:?}", config.platform, config.command);
/// # Ok(())
/// # }
/// ```
pub async fn inspect(engine: &Engine, image: &str) -> Result<ImageConfig, ImageError> {
    let found = engine
        .docker()
        .inspect_image(image)
        .await
        .map_err(|error| match error {
            bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => ImageError::NoImage {
                image: image.to_owned(),
            },
            other => engine_error(format!("inspect the image {image}"))(other),
        })?;
    let config = found.config.unwrap_or_default();
    let mut exposed_ports = config.exposed_ports.unwrap_or_default();
    exposed_ports.sort_unstable();
    Ok(ImageConfig {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        exposed_ports,
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        platform: format!(
            "{}/{}",
            found.os.unwrap_or_default(),
            found.architecture.unwrap_or_default()
        ),
        size: found.size.unwrap_or_default().unsigned_abs(),
        layers: found
            .root_fs
            .and_then(|fs| fs.layers)
            .unwrap_or_default()
            .iter()
            .filter_map(|layer| layer.parse().ok())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn finds_the_shell_form() {
        let with = |entrypoint: &[&str], command: &[&str]| ImageConfig {
            entrypoint: words(entrypoint),
            command: words(command),
            ..ImageConfig::default()
        };
        assert_eq!(
            with(&[], &["/bin/sh", "-c", "gunicorn a"]).shell_form(),
            Some("gunicorn a")
        );
        assert_eq!(
            with(&["/bin/sh", "-c", "gunicorn a"], &[]).shell_form(),
            Some("gunicorn a")
        );
        assert_eq!(with(&[], &["/bin/sh", "-c", "exec gunicorn a"]).shell_form(), None);
        assert_eq!(with(&[], &["gunicorn", "a"]).shell_form(), None);
        // An entrypoint that runs what it is given gets the shell as an argument.
        assert_eq!(
            with(&["tini", "--"], &["/bin/sh", "-c", "gunicorn a"]).shell_form(),
            None
        );
    }

    #[test]
    fn knows_root() {
        for (user, root) in [
            ("", true),
            ("0:0", true),
            ("root", true),
            ("app", false),
            ("1000:0", false),
        ] {
            assert_eq!(
                ImageConfig {
                    user: user.into(),
                    ..ImageConfig::default()
                }
                .runs_as_root(),
                root,
                "{user}"
            );
        }
    }
}
