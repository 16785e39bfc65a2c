//! What is wrong with a file, as diagnostics with spans.
//!
//! Invariant: a [`ConfigErrors`] has at least one [`Problem`], in the order of the file, and each has a place within it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde::Serialize;

use crate::hidden;
use crate::node::Span;

/// One thing that is wrong, where, and what would be right.
#[derive(Debug, Clone)]
pub struct Problem {
    message: String,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    /// What must not be shown of the file.
    hidden: Option<Span>,
    /// Right by the file's rules, and nothing carries it out yet.
    unsupported: bool,
    source: Option<NamedSource<Arc<str>>>,
    places: Vec<Place>,
}

/// Where in the file, and what is so there. Lines and columns are counted from 1, columns in characters; the end is the
/// place behind the last character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line in which it begins.
    pub line: usize,
    /// The column in which it begins.
    pub column: usize,
    /// The line in which it ends.
    pub end_line: usize,
    /// The column in which it ends.
    pub end_column: usize,
    /// A few words.
    pub label: String,
}

/// A line beyond this is noise on a terminal, and is not quoted.
const LONGEST_LINE: usize = 300;
/// A place of more lines is marked by its first one.
const MOST_LINES: usize = 5;

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: sentence(&message.into()),
            labels: Vec::new(),
            help: None,
            hidden: None,
            unsupported: false,
            source: None,
            places: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.labels.push((span.clone(), label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows these characters as stars, in every problem of the file.
    pub(crate) fn hide(mut self, span: &Span) -> Self {
        self.hidden = Some(span.clone());
        self
    }

    pub(crate) fn unsupported(mut self) -> Self {
        self.unsupported = true;
        self
    }

    pub(crate) fn is_unsupported(&self) -> bool {
        self.unsupported
    }

    pub(crate) fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }

    /// The same thing, told of another environment.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        self.message == other.message && self.labels == other.labels
    }

    /// `shown` is the text as it may be quoted: as long as the text in bytes, though not in characters.
    pub(crate) fn in_file(mut self, name: &str, text: &str, shown: &Arc<str>) -> Self {
        if self.labels.is_empty() {
            // What the whole file lacks is told at its beginning.
            self.labels.push((0..0, "in this file".to_owned()));
        }
        // A span never splits a character, whatever it was made from.
        for (span, _) in &mut self.labels {
            span.start = floor(text, span.start);
            span.end = floor(text, span.end.max(span.start));
            let said = &text[span.clone()];
            if said.lines().count() > MOST_LINES {
                span.end = span.start + said.lines().next().map_or(0, str::len);
            }
        }
        self.places = self
            .labels
            .iter()
            .map(|(span, label)| {
                let ((line, column), (end_line, end_column)) = (position(text, span.start), position(text, span.end));
                Place {
                    line,
                    column,
                    end_line,
                    end_column,
                    label: label.clone(),
                }
            })
            .collect();
        let quotable = self
            .labels
            .iter()
            .all(|(span, _)| line_around(text, span).len() <= LONGEST_LINE);
        self.source = quotable.then(|| NamedSource::new(name, shown.clone()).with_language("toml"));
        self
    }

    /// One sentence: what is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    pub fn hint(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Where: the first is what the problem is about, the others belong to it.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Line and column of the first place, both from 1.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.places.first().map(|place| (place.line, place.column))
    }
}

/// The text with the same length and lines, and stars for what is hidden.
fn without_hidden(text: &Arc<str>, problems: &[Problem]) -> Arc<str> {
    let mut spans = hidden::looks_secret(text);
    spans.extend(problems.iter().filter_map(|problem| problem.hidden.clone()));
    if spans.is_empty() {
        return text.clone();
    }
    let mut hidden = vec![false; text.len()];
    for span in spans {
        // A place may be told wrongly; what is hidden must not fail.
        if let Some(part) = hidden.get_mut(span) {
            part.fill(true);
        }
    }
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if character != '\n' && hidden[at] {
            out.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            out.push(character);
        }
    }
    out.into()
}

/// On one line and of bearable length, whatever of the file it quotes.
fn sentence(message: &str) -> String {
    const LONGEST: usize = 300;
    let mut out = String::new();
    for character in message.chars().take(LONGEST) {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if message.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// Line and column, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The whole lines that a span stands in.
fn line_around<'t>(text: &'t str, span: &Span) -> &'t str {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[span.end..]
        .find('\n')
        .map_or(text.len(), |newline| span.end + newline);
    &text[start..end]
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self
            .labels
            .iter()
            .map(|(span, label)| LabeledSpan::new((!label.is_empty()).then(|| label.clone()), span.start, span.len()));
        self.source.is_some().then(|| Box::new(labels) as Box<_>)
    }
}

/// Nobody reads more of them on one screen.
const MOST_DRAWN: usize = 20;

/// Everything that is wrong with one file.
///
/// It is a [`miette::Diagnostic`] whose related diagnostics are the single problems; [`render`](Self::render) draws them.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(crate) fn new(file: &str, text: &Arc<str>, problems: Vec<Problem>) -> Self {
        let shown = without_hidden(text, &problems);
        let mut problems: Vec<Problem> = problems
            .into_iter()
            .map(|problem| problem.in_file(file, text, &shown))
            .collect();
        problems.sort_by_key(Problem::start);
        Self {
            file: file.to_owned(),
            problems,
        }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Every problem with its line, a caret and a help, for a terminal of this width.
    ///
    /// ```
    /// let errors = nuages_config::ConfigFile::parse("nuages.toml", "[app]\nname = 'Blog'\n").unwrap_err();
    /// assert!(errors.render(80, false).contains("nuages.toml:2:8"));
    /// ```
    pub fn render(&self, width: usize, color: bool) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width.max(20))
            .with_links(false);
        let mut out = String::new();
        for problem in self.problems.iter().take(MOST_DRAWN) {
            if handler.render_report(&mut out, problem).is_err() {
                // Drawing failed (it never has): the sentence alone is better than nothing.
                out.push_str(&problem.message);
            }
            if let (None, Some((line, column))) = (&problem.source, problem.position()) {
                let _ = writeln!(out, "   at {}:{line}:{column}", self.file);
            }
            out.push('\n');
        }
        let more = self.problems.len().saturating_sub(MOST_DRAWN);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more in {}", self.file);
        }
        out
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "{}: {}", self.file, only.message),
            [first, rest @ ..] => write!(f, "{}: {} (and {} more)", self.file, first.message, rest.len()),
            [] => write!(f, "{} is not valid", self.file),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
