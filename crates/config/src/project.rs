//! A project: the folder with `nuages.toml`.
//!
//! Invariant: the folder is absolute, so that nothing depends on where the process stands later.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nuages_model::EnvName;

use crate::{Config, ConfigError, ConfigErrors, ConfigFile};

/// The file's name.
pub const FILE_NAME: &str = "nuages.toml";

/// A folder with a `nuages.toml` that was read.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// Its `nuages.toml`.
    pub file: ConfigFile,
}

impl Project {
    /// The nearest `nuages.toml`, in this folder or one above it.
    ///
    /// ```no_run
    /// let project = nuages_config::Project::find(std::path::Path::new("."))?;
    /// let staging = project.environment(&"staging".parse()?)?;
    /// println!("{} goes to {}", staging.app.name, staging.region);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(start: &Path) -> Result<Self, ConfigError> {
        let absolute = absolute(start)?;
        match absolute.ancestors().find(|dir| stands_in(dir)) {
            Some(dir) => Self::read(dir),
            None => Err(ConfigError::NotFound { start: absolute }),
        }
    }

    /// The `nuages.toml` of exactly this folder.
    pub fn open(dir: &Path) -> Result<Self, ConfigError> {
        let absolute = absolute(dir)?;
        if stands_in(&absolute) {
            return Self::read(&absolute);
        }
        Err(ConfigError::NotFound { start: absolute })
    }

    /// The settings of one environment.
    pub fn environment(&self, name: &EnvName) -> Result<Config, ConfigErrors> {
        let mut config = self.file.environment(name)?;
        let gunicorn_file = self.dir.join(&config.build.context).join("gunicorn.conf.py").is_file();
        for service in config.services.values_mut() {
            service.gunicorn_file = gunicorn_file;
        }
        Ok(config)
    }

    fn read(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE_NAME);
        require_file(&path)?;
        let bytes = bytes(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        if bytes.len() > LARGEST {
            return Err(ConfigError::TooLarge { path });
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            file: ConfigFile::parse_bytes(&path, &bytes)?,
        })
    }
}

/// Whether anything of the file's name stands in a folder. What is no file was meant to be one, and a file of the same name
/// further up is another project's.
fn stands_in(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(FILE_NAME)).is_ok()
}

/// Refuses what is no file, before anybody waits for what a pipe never says.
fn require_file(path: &Path) -> Result<(), ConfigError> {
    let path = path.to_path_buf();
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) => Err(ConfigError::NotAFile {
            what: if found.is_dir() { "a folder" } else { "no file" },
            path,
        }),
        Err(error) => match fs::read_link(&path) {
            Ok(target) if error.kind() == io::ErrorKind::NotFound => Err(ConfigError::Dangling { path, target }),
            _ => Err(ConfigError::Read { path, source: error }),
        },
    }
}

/// Nobody writes a larger one by hand. In bytes.
const LARGEST: usize = 256 * 1024;

/// What stands in a file, and a byte more than is taken where it is too large.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn absolute(dir: &Path) -> Result<PathBuf, ConfigError> {
    // On Windows the canonical form is a verbatim path, which Docker does not take.
    let absolute = if cfg!(windows) {
        std::path::absolute(dir)
    } else {
        fs::canonicalize(dir)
    };
    absolute.map_err(|source| ConfigError::Read {
        path: dir.to_path_buf(),
        source,
    })
}
