//! How a fake registry behaves, and what goes wrong in it.
//!
//! Invariant: these are switches alone; what they do stands in the registry.

use ::http::{HeaderMap, Method, Uri};

/// How a registry behaves. The default is the specification's plain case: no login, no surprises.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Behaviour {
    /// Asks for this user and password in every request.
    pub basic: Option<(String, String)>,
    /// Asks for a token, which its own `/token` gives to this user and password (to anyone, where empty).
    pub bearer: Option<(String, String)>,
    /// The status of a part: 202 by the specification, 201 in Amazon ECR.
    pub patch_status: u16,
    /// `Range` stands still after the first part.
    pub range_sticks: bool,
    /// The least size of a part but the last.
    pub min_part: u64,
    /// Whether a whole blob in one PUT is taken.
    pub whole_put: bool,
    /// Whether a PUT with `Content-Range` is refused.
    pub refuse_ranged_put: bool,
    /// When a blob can be mounted.
    pub mount: Mount,
    /// Tags that never move: none, all, or all but those with one of these beginnings.
    pub immutable: Immutable,
    /// Whether blobs are read from another origin, which takes no `Authorization`.
    pub redirect_blobs: bool,
    /// Whether a manifest is found only by who accepts its type, and converted for who names another.
    pub strict_accept: bool,
    /// Whether answers carry `Docker-Content-Digest`.
    pub says_digest: bool,
    /// Whether reading the rest of a blob is possible.
    pub ranges: bool,
    /// Tags, or referrers, on one page.
    pub page: usize,
    /// Whether it lists what refers to an image. Debian's docker-registry and MiniStack do not.
    pub referrers: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            basic: None,
            bearer: None,
            patch_status: 202,
            range_sticks: false,
            min_part: 0,
            whole_put: true,
            refuse_ranged_put: false,
            mount: Mount::Always,
            immutable: Immutable::None,
            redirect_blobs: false,
            strict_accept: false,
            says_digest: true,
            ranges: true,
            page: 1000,
            referrers: false,
        }
    }
}

impl Behaviour {
    /// Amazon ECR's ways, as far as they show over HTTP.
    pub fn ecr(user: &str, password: &str) -> Self {
        Self {
            basic: Some((user.to_owned(), password.to_owned())),
            patch_status: 201,
            range_sticks: true,
            min_part: 5 * 1024 * 1024,
            refuse_ranged_put: true,
            mount: Mount::Referenced,
            immutable: Immutable::All,
            redirect_blobs: true,
            strict_accept: true,
            referrers: true,
            ..Self::default()
        }
    }
}

/// When a blob can be mounted from another repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// Never: an upload is opened instead.
    Never,
    /// When it is there.
    Always,
    /// When a manifest there names it (Amazon ECR).
    Referenced,
    /// The question itself is an error.
    Refused,
}

/// Which tags never move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Immutable {
    /// None.
    None,
    /// All.
    All,
    /// All but those with one of these beginnings.
    AllBut(Vec<String>),
}

impl Immutable {
    pub(super) fn holds(&self, tag: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::AllBut(beginnings) => !beginnings.iter().any(|beginning| tag.starts_with(beginning)),
        }
    }
}

/// Something that goes wrong, once, in the first request that fits.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The request's method.
    pub method: Method,
    /// A part of the request's path.
    pub path: String,
    /// So many requests that fit are let through before it.
    pub after: usize,
    /// What happens.
    pub what: What,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum What {
    /// This answer instead of the right one; nothing is done.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection breaks when this many bytes of the request's body have arrived; they are kept.
    BreakRequest(usize),
    /// Everything is done, and the connection breaks before the answer.
    BreakAnswer,
    /// The connection breaks when this many bytes of the answer's body were sent.
    CutAnswer(usize),
    /// The answer has this header instead of its own.
    Header(&'static str, String),
}

impl Fault {
    /// The next request with this method whose path holds this text.
    pub fn next(method: Method, path: &str, what: What) -> Self {
        Self {
            method,
            path: path.to_owned(),
            after: 0,
            what,
        }
    }

    /// A plain status.
    pub fn status(method: Method, path: &str, status: u16) -> Self {
        Self::next(method, path, What::Answer(status, Vec::new(), String::new()))
    }
}

/// A request that arrived, without its body.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// So many bytes of body arrived.
    pub body: usize,
    /// The answer's status; 0 if the connection was broken instead.
    pub status: u16,
    /// Whether it came to the other origin, where blobs are read.
    pub elsewhere: bool,
}
