//! Reading the tree: every question that a section asks of its keys.
//!
//! Invariant: a question never stops the reading. What is wrong is noted, the answer is `None`, and the reader goes on,
//! so that one run tells everything.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::node::{Entry, Node, Span, Table, Value};
use crate::problem::Problem;
use crate::words::{listed, nearest, shown, those_there_are};

/// Where the problems of one reading gather.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<Problem>>);

/// Nobody mends more of them at once; a file of noise has one in each line.
const MOST: usize = 200;

impl Notes {
    pub(crate) fn add(&self, problem: Problem) {
        let mut problems = self.0.borrow_mut();
        if problems.len() < MOST {
            problems.push(problem);
        }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A table that is being read.
pub(crate) struct Section<'t> {
    pub(crate) notes: &'t Notes,
    /// As it is written in a header, such as `services.web`; empty for the file itself.
    pub(crate) path: String,
    pub(crate) span: Span,
    table: &'t Table,
    asked: Vec<&'static str>,
    /// Keys that are known and not named where somebody looks for the right one.
    unlisted: Vec<&'static str>,
}

/// What a word of the file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word<T> {
    /// This.
    Now(T),
    /// Something that has no code yet.
    Later,
}

/// A value that is being read, with the key it stands under.
#[derive(Clone, Copy)]
pub(crate) struct Field<'t> {
    pub(crate) notes: &'t Notes,
    pub(crate) name: &'t str,
    pub(crate) key: &'t Span,
    pub(crate) node: &'t Node,
}

impl<'t> Section<'t> {
    pub(crate) fn new(notes: &'t Notes, path: impl Into<String>, span: Span, table: &'t Table) -> Self {
        Self {
            notes,
            path: path.into(),
            span,
            table,
            asked: Vec::new(),
            unlisted: Vec::new(),
        }
    }

    /// The value under a key. Every key that the section knows must be asked for before [`finish`](Self::finish).
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Field<'t>> {
        self.asked.push(key);
        self.find(key)
    }

    /// As [`get`](Self::get), of a key that nobody is advised to write.
    pub(crate) fn get_unlisted(&mut self, key: &'static str) -> Option<Field<'t>> {
        self.unlisted.push(key);
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<Field<'t>> {
        let (name, entry) = self.table.get_key_value(key)?;
        Some(Field {
            notes: self.notes,
            name,
            key: &entry.key,
            node: &entry.node,
        })
    }

    /// As [`get`](Self::get), and noted as missing where it is not there.
    pub(crate) fn require(&mut self, key: &'static str, help: &str) -> Option<Field<'t>> {
        let field = self.get(key);
        if field.is_none() && !self.misspelt(key) {
            let at = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in `[{}]`", self.path)
            };
            self.notes.add(
                Problem::new(format!("`{key}` is missing{at}"))
                    .at(&self.span, "here")
                    .help(help),
            );
        }
        field
    }

    /// Whether another key was probably meant to be this one: then that one is told, and this one not as missing.
    pub(crate) fn misspelt(&self, key: &str) -> bool {
        self.table
            .keys()
            .any(|name| name != key && nearest(name, [key].into_iter()).is_some())
    }

    /// A table under a key, as a section.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'t>> {
        let path = self.join(key);
        self.get(key)?.section(path)
    }

    pub(crate) fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (name, entry) in self.table {
            if self.asked.contains(&name.as_str()) || self.unlisted.contains(&name.as_str()) {
                continue;
            }
            let at = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in `[{}]`", self.path)
            };
            let problem =
                Problem::new(format!("unknown key `{}`{at}", shown(name))).at(&entry.key, "not a key of nuages.toml");
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            self.notes.add(problem.help(match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", listed(&known)),
            }));
        }
    }
}

impl<'t> Field<'t> {
    /// Something is wrong with this value.
    pub(crate) fn problem(&self, message: impl Into<String>, label: impl Into<String>) -> Problem {
        Problem::new(message).at(&self.node.span, label)
    }

    fn refuse_kind(&self, wanted: &str) -> Problem {
        self.problem(
            format!("`{}` is {}, and {wanted} is needed", shown(self.name), self.node.kind()),
            format!("not {wanted}"),
        )
    }

    pub(crate) fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            Value::Integer(Some(number)) => {
                self.notes
                    .add(self.refuse_kind("a text").help(format!("in quotes: \"{number}\"")));
                None
            }
            Value::Boolean(flag) => {
                self.notes
                    .add(self.refuse_kind("a text").help(format!("in quotes: \"{flag}\"")));
                None
            }
            _ => {
                self.notes.add(self.refuse_kind("a text"));
                None
            }
        }
    }

    /// A text that is not empty and has no control characters.
    pub(crate) fn words(&self) -> Option<&'t str> {
        let text = self.text()?;
        if text.trim().is_empty() || text.contains(char::is_control) {
            let why = if text.trim().is_empty() {
                "is empty"
            } else {
                "has control characters"
            };
            self.notes
                .add(self.problem(format!("`{}` {why}", shown(self.name)), "here"));
            return None;
        }
        Some(text)
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Text(text) if text == "true" || text == "false" => {
                self.notes.add(
                    self.refuse_kind("true or false")
                        .help(format!("without quotes: {} = {text}", self.name)),
                );
                None
            }
            _ => {
                self.notes.add(self.refuse_kind("true or false"));
                None
            }
        }
    }

    /// A whole number within these bounds.
    pub(crate) fn number<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let number = match &self.node.value {
            Value::Integer(number) => *number,
            Value::Text(text) if text.parse::<i64>().is_ok() => {
                self.notes.add(
                    self.refuse_kind("a number")
                        .help(format!("without quotes: {} = {text}", self.name)),
                );
                return None;
            }
            _ => {
                self.notes.add(self.refuse_kind("a number"));
                return None;
            }
        };
        let fits = number
            .and_then(|number| N::try_from(number).ok())
            .filter(|number| range.contains(number));
        if fits.is_none() {
            self.notes.add(self.problem(
                format!(
                    "`{}` must be from {} to {}",
                    shown(self.name),
                    range.start(),
                    range.end()
                ),
                "out of range",
            ));
        }
        fits
    }

    /// A duration within these bounds.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let example = duration::text(*range.start().max(&Duration::from_secs(1)).min(range.end()));
        let text = match &self.node.value {
            Value::Text(text) => text,
            Value::Integer(Some(number)) if *number >= 0 => {
                self.notes.add(
                    self.problem(format!("`{}` has no unit", shown(self.name)), "of what?")
                        .help(format!("write a duration: {} = \"{number}s\"", self.name)),
                );
                return None;
            }
            _ => {
                self.notes.add(
                    self.refuse_kind("a duration")
                        .help(format!("for example {} = \"{example}\"", self.name)),
                );
                return None;
            }
        };
        let Some(duration) = duration::parse(text) else {
            self.notes.add(
                self.problem(format!("`{}` is not a duration", shown(text)), "cannot be read")
                    .help("numbers with the units d, h, m, s or ms, such as \"90s\", \"10m\" or \"1h30m\""),
            );
            return None;
        };
        if !range.contains(&duration) {
            self.notes.add(self.problem(
                format!(
                    "`{}` must be from {} to {}",
                    shown(self.name),
                    duration::text(*range.start()),
                    duration::text(*range.end())
                ),
                "out of range",
            ));
            return None;
        }
        Some(duration)
    }

    /// A text of one of the model's types.
    pub(crate) fn parsed<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.notes.add(self.problem(error.to_string(), "here"));
                None
            }
        }
    }

    /// A text that is one of the model's names.
    pub(crate) fn named<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text()?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let problem = self.problem(error.to_string(), "here");
                self.notes.add(with_a_name_for::<T>(text, problem));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, value)| (*word, Word::Now(*value))).collect();
        match self.choice_or_later(&words)? {
            Word::Now(value) => Some(value),
            Word::Later => None,
        }
    }

    /// One of a few words, where some are known and nothing carries them out yet: the caller
    /// [refuses](Self::refuse_for_now) those.
    pub(crate) fn choice_or_later<T: Copy>(&self, choices: &[(&'static str, Word<T>)]) -> Option<Word<T>> {
        let text = self.text()?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let message = format!("`{}` is not a value of `{}`", shown(text), shown(self.name));
        let later = |(_, word): &&(&'static str, Word<T>)| matches!(word, Word::Later);
        let names = |choices: &[&(&'static str, Word<T>)]| choices.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let (later, now): (Vec<_>, Vec<_>) = choices.iter().partition(later);
        let help = those_there_are(text, &names(&now), &names(&later));
        self.notes.add(self.problem(message, "not known").help(help));
        None
    }

    /// It is right, and nothing carries it out yet.
    pub(crate) fn refuse_for_now(&self, message: impl Into<String>, help: impl Into<String>) {
        self.notes
            .add(self.problem(message, "not in this version").help(help).unsupported());
    }

    /// The items of an array, each as a field under the same name.
    pub(crate) fn items(&self) -> Option<Vec<Field<'t>>> {
        let Value::Array(items) = &self.node.value else {
            self.notes.add(self.refuse_kind("an array"));
            return None;
        };
        Some(items.iter().map(|node| Field { node, ..*self }).collect())
    }

    /// A program and its arguments: an array. A text is refused, since nobody here splits it as a shell would.
    pub(crate) fn command(&self) -> Option<Vec<String>> {
        if let Value::Text(text) = &self.node.value {
            let words: Vec<&str> = text.split_whitespace().collect();
            self.notes.add(
                self.problem(
                    format!("`{}` must be an array, a word each", shown(self.name)),
                    "no shell reads this",
                )
                .help(format!(
                    "{} = [{}]",
                    self.name,
                    words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
                )),
            );
            return None;
        }
        let items = self.items()?;
        let mut words = Vec::new();
        for item in &items {
            match item.text() {
                Some(text) if text.contains('\0') => {
                    self.notes
                        .add(item.problem("a command cannot contain the character NUL", "here"));
                }
                Some(text) => words.push(text.to_owned()),
                None => {}
            }
        }
        if items.is_empty() || words.first().is_some_and(|program| program.trim().is_empty()) {
            self.notes.add(
                self.problem(format!("`{}` names no program", shown(self.name)), "empty")
                    .help(format!("for example {} = [\"gunicorn\", \"mysite.wsgi\"]", self.name)),
            );
            return None;
        }
        (words.len() == items.len()).then_some(words)
    }

    /// A table, as a section.
    pub(crate) fn section(&self, path: impl Into<String>) -> Option<Section<'t>> {
        let Value::Table(table) = &self.node.value else {
            let path = path.into();
            self.notes.add(
                self.refuse_kind("a table")
                    .help(format!("it is written as a section: [{path}]")),
            );
            return None;
        };
        Some(Section::new(self.notes, path, self.node.span.clone(), table))
    }

    /// The entries of a table whose keys the person chose.
    pub(crate) fn entries(&self) -> Option<Vec<Field<'t>>> {
        let Value::Table(table) = &self.node.value else {
            self.notes.add(
                self.refuse_kind("a table")
                    .help(format!("it is written as a section: [{}]", self.name)),
            );
            return None;
        };
        Some(fields(self.notes, table))
    }

    /// The key itself, as one of the model's names.
    pub(crate) fn key_as<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.name.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let problem = Problem::new(error.to_string()).at(self.key, "this name");
                self.notes.add(with_a_name_for::<T>(self.name, problem));
                None
            }
        }
    }
}

/// With what was probably meant, where that is a name.
fn with_a_name_for<T: FromStr>(text: &str, problem: Problem) -> Problem {
    let mut name = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name.parse::<T>().is_ok() {
        problem.help(format!("did you mean \"{name}\"?"))
    } else {
        problem
    }
}

/// The entries of a table, as fields.
pub(crate) fn fields<'t>(notes: &'t Notes, table: &'t Table) -> Vec<Field<'t>> {
    table
        .iter()
        .map(|(name, Entry { key, node })| Field { notes, name, key, node })
        .collect()
}
