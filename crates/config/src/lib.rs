//! `nuages.toml`: from text to a validated [`Config`].
//!
//! [`Project::find`] looks for the nearest `nuages.toml` upward, [`ConfigFile::parse`] reads one, and
//! [`ConfigFile::environment`] gives the settings of one environment, its own keys laid over the shared ones.
//! [`detect`] looks at a Django project and writes the first `nuages.toml`.
//!
//! Invariant: a [`Config`] is valid as a whole and is never checked again. Every problem of a file is told at once, and
//! each points at the line and the characters that it is about.
//!
//! ```
//! use nuages_config::ConfigFile;
//!
//! let file = ConfigFile::parse(
//!     "nuages.toml",
//!     r#"
//!     [app]
//!     name = "blog"
//!
//!     [services.web]
//!     command = ["gunicorn", "blog.wsgi"]
//!     port = 8000
//!     health = { live = "/livez", ready = "/readyz" }
//!
//!     [environments.local]
//!     emulator = "ministack"
//!     "#,
//! )?;
//! let config = file.environment(&"local".parse()?)?;
//! assert_eq!(config.app.name.as_str(), "blog");
//! assert_eq!(config.services[&"web".parse()?].memory, 512);
//!
//! let errors = ConfigFile::parse("nuages.toml", "[app]\nnaem = 'blog'\n").unwrap_err();
//! assert!(errors.to_string().contains("nuages.toml"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod checks;
mod config;
mod database;
pub mod detect;
pub mod duration;
mod error;
mod fargate;
mod file;
mod gunicorn;
mod hidden;
mod merge;
mod migrations;
mod network;
mod node;
mod place;
mod problem;
mod project;
mod reader;
mod rollout;
mod secrets;
mod service;
mod variables;
mod words;

pub use build::{Build, Builder, CaBundle, Platform};
pub use checks::Check;
pub use config::{App, Config, Environment};
pub use database::{Database, Engine};
pub use error::ConfigError;
pub use file::ConfigFile;
pub use migrations::{Backup, Migrations};
pub use network::{Egress, Network};
pub use place::{Emulator, Target};
pub use problem::{ConfigErrors, Place, Problem};
pub use project::{FILE_NAME, Project};
pub use rollout::Strategy;
pub use secrets::{Provider, SecretSource};
pub use service::{Health, Service};
