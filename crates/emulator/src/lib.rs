//! The local environment: the images it needs, and the emulator that runs in it.
//!
//! Three things, each usable alone: [`Engine`] finds the Docker engine of this machine and says in one sentence why it
//! cannot be used; [`images::ensure`] makes container images exist, pulled where a registry can be reached and built
//! from embedded definitions where none can; [`local::LocalEmulator`] starts one MiniStack per project, finds it again,
//! and takes it away without leaving anything behind.
//!
//! Invariant: nothing here touches a container, network, volume or image that it cannot attribute to nuages by label,
//! or to an emulator of nuages by that emulator's own label.
//!
//! ```no_run
//! use nuages_emulator::{Engine, images::{self, ImageSet, Source}, local::{LocalEmulator, LocalSettings}};
//! use nuages_model::Progress;
//!
//! # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
//! let engine = Engine::connect().await?;
//! images::ensure(&engine, &ImageSet::Local, Source::Auto, &Progress::none()).await?;
//! let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
//! let running = LocalEmulator::ensure(&engine, &settings, &Progress::none()).await?;
//! assert!(running.endpoint.starts_with("http://127.0.0.1:"));
//! # Ok(()) }
//! ```

pub mod apt;
pub mod children;
mod engine;
mod error;
pub mod health;
mod host;
pub mod images;
pub mod local;
mod lock;
pub mod ministack;
pub mod network;

pub use engine::Engine;
pub use error::EmulatorError;
pub use lock::FileLock;
