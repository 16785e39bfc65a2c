//! One file a verb: from arguments to a call, and from its answer to what a person or a script reads.

pub(crate) mod bootstrap;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod images;
pub(crate) mod infra;
pub(crate) mod init;
pub(crate) mod lease;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod releases;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod status;
pub(crate) mod verify;

mod findings;
mod unrecorded;
