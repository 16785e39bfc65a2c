//! Colours, which only repeat what words and signs say already.
//!
//! Invariant: without colour the text is the same, less the escapes.

/// Whether to paint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    color: bool,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// A heading.
    Bold,
    /// Of lesser weight.
    Dim,
    /// It went well.
    Good,
    /// It needs attention.
    Warn,
    /// It failed.
    Bad,
    /// It moves.
    Busy,
}

impl Style {
    /// With colours, or without.
    pub(crate) fn new(color: bool) -> Self {
        Self { color }
    }

    /// Whether there are colours, for what is drawn elsewhere.
    pub(crate) fn has_color(self) -> bool {
        self.color
    }

    /// The text, painted.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            _ if !self.color || text.is_empty() => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "31",
            Paint::Busy => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
