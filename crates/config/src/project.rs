//! A project: the folder with `nuages.toml`.
//!
//! Invariant: the folder is absolute, so that nothing depends on where the process stands later.

use std::fs;
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
        match absolute.ancestors().find(|dir| dir.join(FILE_NAME).is_file()) {
            Some(dir) => Self::read(dir),
            None => Err(ConfigError::NotFound { start: absolute }),
        }
    }

    /// The `nuages.toml` of exactly this folder.
    pub fn open(dir: &Path) -> Result<Self, ConfigError> {
        let absolute = absolute(dir)?;
        if absolute.join(FILE_NAME).is_file() {
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
        let text = fs::read_to_string(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            dir: dir.to_path_buf(),
            file: ConfigFile::parse(&path, &text)?,
        })
    }
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
