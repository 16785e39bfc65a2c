//! What tells one project's local environment from another's.
//!
//! Invariant: the same project folder and app always give the same names, and two folders never do.

use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use crate::EmulatorError;

/// What the local emulator of a project is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// The app's name.
    pub app: String,
    /// The project's folder, with links resolved.
    pub project: PathBuf,
    /// The environment of the project that it is made for, where it has a name.
    pub env: Option<String>,
    /// The account the emulator answers for, twelve digits.
    pub account: String,
    /// The region it answers for.
    pub region: String,
    /// The port to take where it is free.
    pub preferred_port: u16,
}

impl LocalSettings {
    /// The settings of the project in this folder, with an account of its own: MiniStack names database containers by
    /// account, and those of two projects must not meet.
    ///
    /// ```
    /// use nuages_emulator::local::LocalSettings;
    /// let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
    /// assert_eq!(settings.account.len(), 12);
    /// assert!(settings.name().starts_with("nuages-local-blog-"));
    /// # Ok::<(), nuages_emulator::EmulatorError>(())
    /// ```
    pub fn new(app: impl Into<String>, project: &Path) -> Result<Self, EmulatorError> {
        let project = std::fs::canonicalize(project)
            .map_err(|source| EmulatorError::io(format!("find the project folder {}", project.display()), source))?;
        let mut settings = Self {
            app: app.into(),
            project,
            env: None,
            account: String::new(),
            region: "eu-west-1".to_owned(),
            preferred_port: crate::ministack::PORT,
        };
        let number = settings
            .fingerprint()
            .iter()
            .skip(8)
            .take(5)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        settings.account = format!("{:012}", 100_000_000_000 + number % 900_000_000_000);
        Ok(settings)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let text = format!("{}\0{}", self.project.display(), self.app);
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        bytes
    }

    /// A short word for this project, the value of the label `nuages.local`.
    pub fn key(&self) -> String {
        hex::encode(&self.fingerprint()[..4])
    }

    /// The name of the container and the network.
    pub fn name(&self) -> String {
        format!("nuages-local-{}-{}", self.app, self.key())
    }

    /// The name of the volume that keeps the emulator's state.
    pub(crate) fn volume(&self) -> String {
        format!("{}-state", self.name())
    }

    /// Where the emulator begins to look for host ports for databases: apart from other projects', which it cannot see
    /// from inside its container.
    pub(crate) fn database_ports(&self) -> u16 {
        let [.., high, low] = self.fingerprint();
        20_000 + (u16::from_be_bytes([high, low]) % 1_000) * 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_apps_are_told_apart() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let blog = LocalSettings::new("blog", one.path()).unwrap();
        assert_eq!(blog, LocalSettings::new("blog", &one.path().join(".")).unwrap());
        for stranger in [
            LocalSettings::new("blog", other.path()),
            LocalSettings::new("shop", one.path()),
        ] {
            let stranger = stranger.unwrap();
            assert_ne!(blog.name(), stranger.name());
            assert_ne!(blog.account, stranger.account);
        }
    }

    #[test]
    fn accounts_and_ports_are_valid() {
        for number in 0..200 {
            let settings = LocalSettings::new(format!("app{number}"), Path::new(".")).unwrap();
            assert!(
                settings.account.len() == 12 && !settings.account.starts_with('0'),
                "{}",
                settings.account
            );
            assert!((20_000..30_000).contains(&settings.database_ports()));
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(LocalSettings::new("blog", Path::new("/no/such/folder")).is_err());
    }
}
