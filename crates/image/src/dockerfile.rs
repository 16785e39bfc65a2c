//! What must be known of a Dockerfile before the engine reads it: its arguments, its stages, and habits that break later.
//!
//! Invariant: this is a reader for advice. The engine alone decides what a Dockerfile means, so nothing here refuses one.

use std::collections::BTreeSet;

/// One instruction, with its continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line on which it begins, from one.
    pub line: usize,
    /// Its name in capitals, such as `RUN`.
    pub name: String,
    /// All that follows the name.
    pub rest: String,
}

/// A Dockerfile's instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// In order.
    pub instructions: Vec<Instruction>,
    /// The frontend of a `# syntax=` line, which an engine must pull before it builds.
    pub syntax: Option<String>,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// ```
    /// let file = nuages_image::Dockerfile::read("ARG BASE=python:3.13-slim\nFROM ${BASE} AS app\nCMD gunicorn blog.wsgi\n");
    /// assert!(file.arguments().contains("BASE"));
    /// assert_eq!(file.stages(), ["app"]);
    /// ```
    pub fn read(text: &str) -> Self {
        let mut file = Self::default();
        let mut escape = '\\';
        let mut lines = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .lines()
            .enumerate()
            .peekable();
        // Directives stand before all else, one a line.
        while let Some((_, line)) = lines.peek() {
            let Some((key, value)) = line.trim().strip_prefix('#').and_then(|line| line.split_once('=')) else {
                break;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "escape" => escape = value.trim().chars().next().unwrap_or('\\'),
                "syntax" => file.syntax = Some(value.trim().to_owned()),
                "check" => {}
                _ => break,
            }
            lines.next();
        }
        while let Some((index, line)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut whole = line.to_owned();
            while whole.ends_with(escape) {
                whole.pop();
                // Comments and empty lines within a continued instruction are passed over.
                match lines
                    .by_ref()
                    .map(|(_, line)| line.trim())
                    .find(|line| !line.is_empty() && !line.starts_with('#'))
                {
                    Some(next) => {
                        whole.push(' ');
                        whole.push_str(next);
                    }
                    None => break,
                }
            }
            let (name, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
            let name = name.to_ascii_uppercase();
            if matches!(name.as_str(), "RUN" | "COPY" | "ADD") {
                for end in here_documents(rest) {
                    for (_, line) in lines.by_ref() {
                        if line.trim_start_matches('\t') == end {
                            break;
                        }
                    }
                }
            }
            file.instructions.push(Instruction {
                line: index + 1,
                name,
                rest: rest.trim().to_owned(),
            });
        }
        file
    }

    /// The names that `ARG` declares anywhere.
    pub fn arguments(&self) -> BTreeSet<String> {
        self.instructions
            .iter()
            .filter(|instruction| instruction.name == "ARG")
            .flat_map(|instruction| instruction.rest.split_whitespace())
            .map(|word| word.split_once('=').map_or(word, |(name, _)| name).to_owned())
            .collect()
    }

    /// The named stages, in order.
    pub fn stages(&self) -> Vec<&str> {
        self.instructions
            .iter()
            .filter(|instruction| instruction.name == "FROM")
            .filter_map(|instruction| {
                let mut words = instruction.rest.split_whitespace();
                words.by_ref().find(|word| word.eq_ignore_ascii_case("as"))?;
                words.next()
            })
            .collect()
    }
}

/// The words that end the here-documents of an instruction (`<<EOF`, `<<-"EOF"`).
fn here_documents(rest: &str) -> Vec<String> {
    rest.split("<<")
        .skip(1)
        .filter_map(|after| {
            let after = after.strip_prefix('-').unwrap_or(after);
            let word = after
                .split(|c: char| c.is_whitespace() || c == ';' || c == '>')
                .next()
                .unwrap_or_default();
            let word = word.trim_matches(['"', '\'']);
            let starts = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            starts.then(|| word.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let file = Dockerfile::read(
            "# syntax=docker/dockerfile:1\n# escape=`\n\n# a comment\nARG BASE=python:3.13-slim EXTRA\nfrom ${BASE} as deps\n\
             RUN pip install `\n  # why\n\n  -r requirements.txt\nRUN <<EOF\nARG NOT_ONE\nEOF\nFROM deps\nCMD [\"a\"]\n",
        );
        assert_eq!(file.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!(file.arguments().into_iter().collect::<Vec<_>>(), ["BASE", "EXTRA"]);
        assert_eq!(file.stages(), ["deps"]);
        let names: Vec<_> = file.instructions.iter().map(|i| (i.line, i.name.as_str())).collect();
        assert_eq!(
            names,
            [
                (5, "ARG"),
                (6, "FROM"),
                (7, "RUN"),
                (11, "RUN"),
                (14, "FROM"),
                (15, "CMD")
            ]
        );
        assert_eq!(file.instructions[2].rest, "pip install  -r requirements.txt");
    }

    #[test]
    fn a_shift_is_not_a_here_document() {
        assert!(here_documents("echo $((1 << 2))").is_empty());
        assert_eq!(here_documents("cat <<-'EOF' > /x"), ["EOF"]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(#? ?[a-zA-Z=<\\\\` ]{0,12}\n){0,6}") {
            Dockerfile::read(&text);
        }
    }
}
