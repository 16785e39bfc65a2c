//! `.env` files: read, written, and complained about with line and column.
//!
//! ```text
//! file    = { line }
//! line    = blanks [ "#" anything ] | blanks [ "export" blanks ] NAME blanks "=" blanks value
//! NAME    = letter or "_", then letters, digits and "_"
//! value   = plain                      to the end of the line, or to a "#" after a blank; blanks around it are dropped
//!         | "'" characters "'"         as they stand, on one line
//!         | '"' characters '"'         over any number of lines; escapes: \n \r \t \\ \" \$
//! ```
//! After a closing quote only blanks and a comment may follow. Lines end with LF or CR LF (within quotes too, where both
//! mean a line feed). `$` is a character like any other: nothing is interpolated. A name stands once.
//!
//! Invariant: what [`EnvFile::to_text`] writes, [`EnvFile::parse`] reads as the same; and no error quotes a value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use nuages_model::Secret;

use crate::wanted::is_variable;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// It is malformed.
    #[error("line {line}, column {column}: {why}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It could not be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// The variables of a `.env` file, in its order.
///
/// ```
/// use nuages_secrets::EnvFile;
///
/// let file = EnvFile::parse("export A=1 # one\nB='two words'\nC=\"line 1\nline 2\"\n")?;
/// assert_eq!(file.get("A").unwrap().expose(), "1");
/// assert_eq!(file.get("C").unwrap().expose(), "line 1\nline 2");
/// assert_eq!(EnvFile::parse("A=1\nB").unwrap_err().to_string(), "line 2, column 2: `=` is missing after the name `B`");
/// # Ok::<(), nuages_secrets::EnvFileError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    entries: Vec<(String, Secret<String>)>,
}

impl EnvFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, EnvFileError> {
        let mut parser = Parser {
            left: text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable(),
            line: 1,
            column: 1,
        };
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        let mut entries = Vec::new();
        while let Some((line, name, value)) = parser.entry()? {
            if let Some(first) = lines.insert(name.clone(), line) {
                let why = format!("`{name}` stands on line {first} already");
                return Err(EnvFileError::Syntax { line, column: 1, why });
            }
            entries.push((name, Secret::new(value)));
        }
        Ok(Self { entries })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, EnvFileError> {
        let io = |source| EnvFileError::Io {
            path: path.display().to_string(),
            source,
        };
        let bytes = std::fs::read(path).map_err(io)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let line = good.matches('\n').count() + 1;
                let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                Err(EnvFileError::Syntax {
                    line,
                    column,
                    why: "the file is not UTF-8 from here on".into(),
                })
            }
        }
    }

    /// From values, such as live ones. Names that no file could hold are refused.
    pub fn from_values(values: impl IntoIterator<Item = (String, Secret<String>)>) -> Result<Self, EnvFileError> {
        let mut entries: Vec<(String, Secret<String>)> = Vec::new();
        for (line, (name, value)) in (1..).zip(values) {
            let refuse = |why| Err(EnvFileError::Syntax { line, column: 1, why });
            if !is_variable(&name) {
                return refuse(format!("`{name}` is not a variable's name"));
            }
            if value.expose().contains('\0') {
                return refuse(format!(
                    "the value of `{name}` has a NUL, which no environment can hold"
                ));
            }
            if entries.iter().any(|(other, _)| *other == name) {
                return refuse(format!("`{name}` stands twice"));
            }
            entries.push((name, value));
        }
        Ok(Self { entries })
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Secret<String>> {
        self.entries
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    /// Names and values, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret<String>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The values by name.
    pub fn values(&self) -> BTreeMap<String, Secret<String>> {
        self.entries.iter().cloned().collect()
    }

    /// The file's text. A value that needs quotes gets double ones, with line ends escaped: one line a variable.
    pub fn to_text(&self) -> Secret<String> {
        let mut text = String::new();
        for (name, value) in &self.entries {
            text.push_str(name);
            text.push('=');
            write_value(value.expose(), &mut text);
            text.push('\n');
        }
        Secret::new(text)
    }

    /// Writes the file, readable by its owner only. It appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), EnvFileError> {
        let io = |source| EnvFileError::Io {
            path: path.display().to_string(),
            source,
        };
        let name = path
            .file_name()
            .ok_or_else(|| io(std::io::ErrorKind::InvalidInput.into()))?;
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let written = write_private(&temporary, self.to_text().expose().as_bytes())
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // Nothing to do where even that fails: the error that matters is the first.
            let _ = std::fs::remove_file(&temporary);
        }
        written.map_err(io)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn write_value(value: &str, text: &mut String) {
    if value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c))
    {
        text.push_str(value);
        return;
    }
    text.push('"');
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '"' | '\\' | '$' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text.push('"');
}

struct Parser<'a> {
    left: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let mut c = self.left.next()?;
        if c == '\r' && self.left.peek() == Some(&'\n') {
            self.left.next();
            c = '\n';
        }
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn at_line_end(&mut self) -> bool {
        match self.left.peek() {
            None | Some('\n') => true,
            // A CR that no LF follows is a character.
            Some('\r') => {
                let mut ahead = self.left.clone();
                ahead.next();
                ahead.peek() == Some(&'\n')
            }
            Some(_) => false,
        }
    }

    fn skip_blanks(&mut self) -> bool {
        let mut any = false;
        while self.left.next_if(|c| *c == ' ' || *c == '\t').is_some() {
            self.column += 1;
            any = true;
        }
        any
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    fn error<T>(&self, why: impl Into<String>) -> Result<T, EnvFileError> {
        Err(EnvFileError::Syntax {
            line: self.line,
            column: self.column,
            why: why.into(),
        })
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.left.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            self.column += 1;
            word.push(c);
        }
        word
    }

    fn entry(&mut self) -> Result<Option<(usize, String, String)>, EnvFileError> {
        loop {
            self.skip_blanks();
            if self.left.peek().is_none() {
                return Ok(None);
            }
            if self.at_line_end() || self.left.peek() == Some(&'#') {
                self.skip_line();
                continue;
            }
            let line = self.line;
            let mut column = self.column;
            let mut name = self.word();
            if name == "export" && self.skip_blanks() && self.left.peek() != Some(&'=') {
                column = self.column;
                name = self.word();
            }
            if !is_variable(&name) {
                self.column = column;
                let why = match self.left.peek() {
                    Some(c) if name.is_empty() => format!("a name is expected, not `{}`", c.escape_debug()),
                    _ if name.is_empty() => "a name is expected".into(),
                    _ => format!("`{name}` begins with a digit, and a name does not"),
                };
                return self.error(why);
            }
            self.skip_blanks();
            if self.left.peek() != Some(&'=') {
                return self.error(format!("`=` is missing after the name `{name}`"));
            }
            self.next();
            let blank = self.skip_blanks();
            let value = match self.left.peek() {
                Some('\'') => self.single()?,
                Some('"') => self.double()?,
                _ => self.plain(blank)?,
            };
            return Ok(Some((line, name, value)));
        }
    }

    /// `A=#b` is a value and `A= #b` an empty one with a comment, so the blank before it counts.
    fn plain(&mut self, mut blank: bool) -> Result<String, EnvFileError> {
        let mut value = String::new();
        while !self.at_line_end() {
            if blank && self.left.peek() == Some(&'#') {
                break;
            }
            self.no_nul()?;
            let Some(c) = self.next() else { break };
            blank = c == ' ' || c == '\t';
            value.push(c);
        }
        self.skip_line();
        value.truncate(value.trim_end_matches([' ', '\t']).len());
        Ok(value)
    }

    fn no_nul(&mut self) -> Result<(), EnvFileError> {
        if self.left.peek() == Some(&'\0') {
            return self.error("a NUL, which no environment can hold");
        }
        Ok(())
    }

    fn single(&mut self) -> Result<String, EnvFileError> {
        let opened = (self.line, self.column);
        self.next();
        let mut value = String::new();
        loop {
            if self.at_line_end() {
                (self.line, self.column) = opened;
                return self.error("the single quote is not closed on its line");
            }
            self.no_nul()?;
            match self.next() {
                Some('\'') | None => break,
                Some(c) => value.push(c),
            }
        }
        self.after_quote()?;
        Ok(value)
    }

    fn double(&mut self) -> Result<String, EnvFileError> {
        let opened = (self.line, self.column);
        self.next();
        let mut value = String::new();
        loop {
            self.no_nul()?;
            let at = (self.line, self.column);
            match self.next() {
                Some('"') => break,
                Some('\\') => match self.next() {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some(c @ ('\\' | '"' | '$')) => value.push(c),
                    _ => {
                        (self.line, self.column) = at;
                        return self.error("an unknown escape; known are \\n \\r \\t \\\\ \\\" \\$");
                    }
                },
                Some(c) => value.push(c),
                None => {
                    (self.line, self.column) = opened;
                    return self.error("the double quote is never closed");
                }
            }
        }
        self.after_quote()?;
        Ok(value)
    }

    fn after_quote(&mut self) -> Result<(), EnvFileError> {
        let blank = self.skip_blanks();
        let comment = blank && self.left.peek() == Some(&'#');
        if !comment && !self.at_line_end() {
            return self.error("after a closing quote only a comment may follow");
        }
        self.skip_line();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(line: &str) -> String {
        EnvFile::parse(line).unwrap().get("A").unwrap().expose().clone()
    }

    fn error(text: &str) -> String {
        EnvFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_grammar() {
        for (line, expected) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("  export\tA = b  ", "b"),
            ("A=", ""),
            ("A= # only a comment", ""),
            ("A=#not-a-comment", "#not-a-comment"),
            ("A=b#c", "b#c"),
            ("A=b # c", "b"),
            ("A=two words", "two words"),
            ("A=it's", "it's"),
            ("A='$x \\n # \"'", "$x \\n # \""),
            ("A=\"a\\nb\\\\ \\\" \\$x $y # z\" # comment", "a\nb\\ \" $x $y # z"),
            ("A=\"a\r\nb\"\r\n", "a\nb"),
            ("A=a\rb", "a\rb"),
            ("\u{feff}A=b\r\n", "b"),
            ("# comment\n\n A=b", "b"),
            (
                "A=postgres://u:p@h:5432/d?sslmode=require",
                "postgres://u:p@h:5432/d?sslmode=require",
            ),
            ("A=ü", "ü"),
        ] {
            assert_eq!(value(line), expected, "{line:?}");
        }
        assert_eq!(EnvFile::parse("export=1").unwrap().get("export").unwrap().expose(), "1");
        assert_eq!(
            EnvFile::parse("export =1").unwrap().get("export").unwrap().expose(),
            "1"
        );
    }

    #[test]
    fn errors_have_a_place_and_no_value() {
        assert_eq!(error("A=1\n\nB"), "line 3, column 2: `=` is missing after the name `B`");
        assert_eq!(
            error("A=1\n  2B=3"),
            "line 2, column 3: `2B` begins with a digit, and a name does not"
        );
        assert_eq!(error("=x"), "line 1, column 1: a name is expected, not `=`");
        assert_eq!(
            error("A='x\nB=1"),
            "line 1, column 3: the single quote is not closed on its line"
        );
        assert_eq!(
            error("A=\"x\nB=1"),
            "line 1, column 3: the double quote is never closed"
        );
        assert_eq!(
            error("A='hunter2'x"),
            "line 1, column 12: after a closing quote only a comment may follow"
        );
        assert!(error("A=\"hunter2\\q\"").starts_with("line 1, column 11: an unknown escape"));
        assert_eq!(error("A=1\nB=2\nA=3"), "line 3, column 1: `A` stands on line 1 already");
        assert_eq!(
            error("A=a\0b"),
            "line 1, column 4: a NUL, which no environment can hold"
        );
        assert_eq!(error("ÄA=1"), "line 1, column 1: a name is expected, not `Ä`");
        assert_eq!(error("A-B=1"), "line 1, column 2: `=` is missing after the name `A`");
        for text in ["A='hunter2'x", "A=\"hunter2\\q\"", "A='hunter2", "A=\"hunter2"] {
            assert!(!error(text).contains("hunter2"));
        }
    }

    #[test]
    fn values_are_never_shown() {
        let file = EnvFile::parse("A=hunter2").unwrap();
        assert!(!format!("{file:?} {:#?} {}", file.to_text(), file.to_text()).contains("hunter2"));
    }

    #[test]
    fn saved_privately_and_read_again() {
        let directory = std::env::temp_dir().join(format!("nuages-dotenv-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(".env");
        std::fs::write(&path, "OLD=1").unwrap();
        let file = EnvFile::parse("A='x y'\nB=2").unwrap();
        file.save(&path).unwrap();
        assert_eq!(EnvFile::read(&path).unwrap(), file);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::write(&path, b"A=1\nB=\xff").unwrap();
        assert_eq!(
            EnvFile::read(&path).unwrap_err().to_string(),
            "line 2, column 3: the file is not UTF-8 from here on"
        );
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(EnvFile::read(&path).unwrap_err().to_string().contains(".env"));
    }

    proptest! {
        #[test]
        fn round_trip(values in proptest::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,8}", any::<String>(), 0..6)) {
            let values: BTreeMap<_, _> = values
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value.replace('\0', ""))))
                .collect();
            let file = EnvFile::from_values(values.clone()).unwrap();
            let again = EnvFile::parse(file.to_text().expose()).unwrap();
            prop_assert_eq!(again.values(), values);
        }

        #[test]
        fn any_text_parses_or_names_a_place_in_it(text in "([A-C]|export|[ \t]|=|'|\"|\\\\|\\$|#|\n|\r|é|\0|[a-z]){0,40}") {
            if let Err(EnvFileError::Syntax { line, column, .. }) = EnvFile::parse(&text) {
                let lines: Vec<&str> = text.split('\n').collect();
                prop_assert!(line >= 1 && line <= lines.len(), "line {} of {}", line, lines.len());
                prop_assert!(column >= 1 && column <= lines[line - 1].chars().count() + 1, "column {}", column);
            }
        }

        #[test]
        fn what_parses_writes_and_parses_the_same(text in "([A-C]{1,2}=|export |[ \t]|'|\"|\\\\n|#|\n|\r\n|é|[a-z]){0,30}") {
            if let Ok(file) = EnvFile::parse(&text) {
                prop_assert_eq!(EnvFile::parse(file.to_text().expose()).unwrap(), file);
            }
        }
    }
}
