//! Image builder: a Django project becomes an OCI image, through the Docker engine or layer by layer without one.
//!
//! * [`Engine`]: the connection, with an error and a hint for each way in which Docker can be missing;
//! * [`build`]: a Dockerfile through BuildKit, or through the classic builder where that is all there is;
//! * [`Context`]: the files that a build sees, with the true meaning of [`dockerignore`], and their fingerprint;
//! * [`inspect`]: what an image says of itself;
//! * [`export`] and [`push`]: out of the engine and to a registry, each layer compressed and sent once;
//! * [`Recipe`]: a base, layers of files and how it is run become an image without an engine, the same on every machine;
//!   [`OciLayout`]: a folder of images, as a source and as a place to put them; [`Contents`]: what a base holds that
//!   Python packages depend on; [`Packages`]: what a lock names, installed for a base, as layers;
//! * [`Dependencies`]: what a project's folder says of its packages, whatever tool wrote its lock; [`Pins`]: `nuages.lock`;
//! * [`Django`]: a project as such an image, its static files collected and its modules compiled by the base's own Python;
//! * [`Sandbox`] and [`run_once`]: checks in containers of the very image, with a throw-away PostgreSQL.
//!
//! Invariant: this crate changes nothing but the engine's images and containers of its own label, and one folder of
//! cached blobs. It knows of no registry: what it makes goes to a [`BlobSink`](nuages_model::BlobSink), and what it builds
//! on comes from a [`BlobSource`](nuages_model::BlobSource).

mod advice;
mod archive;
mod base;
mod build;
mod build_output;
mod bytecode;
pub mod ca_bundle;
mod collect;
mod container;
mod contents;
mod context;
mod dependencies;
mod django;
mod docker_archive;
mod dockerfile;
pub mod dockerignore;
mod elf;
mod engine;
mod error;
mod executor;
mod export;
mod facts;
mod fingerprint;
mod forget;
mod go_pattern;
mod gzip;
mod inspect;
mod layout;
mod members;
mod nodes;
mod owner;
mod packages;
mod pins;
mod push;
mod recipe;
mod reuse;
#[cfg(target_os = "linux")]
mod root;
mod sandbox;
mod sbom;
mod store;
mod tar_stream;
mod tar_writer;
mod tree;
mod walk;

pub use base::Base;
pub use build::{BuildRequest, Builder, Built, PASSED_THROUGH, build};
pub use ca_bundle::CaBundle;
pub use container::{RunOutcome, RunSpec, run_once};
pub use contents::{Contents, Libc, Python};
pub use context::{Context, Entry, EntryKind, Stamp};
pub use dependencies::{Dependencies, FirstParty, Group, Locked};
pub use django::{Django, Ground, Server, Site, Withheld};
pub use dockerfile::{Dockerfile, Instruction};
pub use engine::{Engine, EngineError, EngineInfo};
pub use error::ImageError;
pub use export::{CONFIG, Exported, Layer, MANIFEST, export};
pub use facts::{Facts, LayerFacts};
pub use fingerprint::Fingerprint;
pub use forget::forget;
pub use inspect::{ImageConfig, inspect};
pub use layout::OciLayout;
pub use owner::{Swept, left, sweep};
pub use packages::{Packages, Requirements, VENV};
pub use pins::{Pinning, Pins};
pub use push::{Pushed, push};
pub use recipe::{Recipe, Runtime};
pub use reuse::{Previous, Reused};
pub use sandbox::{Sandbox, SandboxSpec, ensure_image};
pub use sbom::Sbom;
pub use store::{BlobStore, LAYER};
pub use tar_stream::{TarFailure, TarStream};
pub use tree::Tree;
