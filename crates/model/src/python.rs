//! What a Python program said last, and what it means: a module that is missing, code that cannot be read, a setting.
//!
//! A task that ends and a step of a build that fails say it in the same words.
//!
//! Invariant: every rule names words that Python or Django print. Only a module without a package is called a
//! requirement: a package that was found and lacks a module is in the image, and so the name or the file is wrong.

/// Why a Python program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// What is wrong.
    pub trouble: Trouble,
    /// The same as one sentence.
    pub sentence: String,
}

/// What is wrong with a Python program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Django's settings, or a variable that they read.
    Setting {
        /// The variable, where it is one.
        variable: Option<String>,
    },
    /// Code that Python cannot read.
    Syntax,
    /// The settings module is not there.
    SettingsModule,
    /// No package of this name is there.
    Package,
    /// The package is there, and not this module of it.
    Module {
        /// The package.
        package: String,
        /// The module, with its package.
        module: String,
    },
    /// A module is there, and does not have what is imported from it.
    Import,
}

impl LastWords {
    /// What this line says, after these lines; none where it is none of those words.
    ///
    /// ```
    /// use nuages_model::{LastWords, Trouble};
    ///
    /// let log = [r#"  File "/app/blog/settings.py", line 5"#, "    X = (", "SyntaxError: '(' was never closed"].map(String::from);
    /// let words = LastWords::in_log(&log).unwrap();
    /// assert_eq!(words.trouble, Trouble::Syntax);
    /// assert_eq!(
    ///     words.sentence,
    ///     "Python cannot read the code: SyntaxError: '(' was never closed (/app/blog/settings.py, line 5)"
    /// );
    /// assert_eq!(LastWords::of_line("collected 12 items", &[]), None);
    /// ```
    pub fn of_line(line: &str, before: &[String]) -> Option<Self> {
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| without_colour(rest));
        if let Some(rest) = after("ModuleNotFoundError: ") {
            let module = after("No module named ").and_then(|rest| rest.split(';').next());
            return Some(not_found(module.unwrap_or(rest).trim_matches(['\'', '"', ' ']), before));
        }
        if let Some(rest) = after("ImportError: ") {
            return Some(Self {
                trouble: Trouble::Import,
                sentence: format!("Python cannot import: {rest}"),
            });
        }
        if let Some(rest) = after("ImproperlyConfigured: ") {
            return Some(Self {
                trouble: Trouble::Setting { variable: None },
                sentence: format!("Django is not configured: {}", rest.trim_end_matches('.')),
            });
        }
        if let Some(name) = after("KeyError: ")
            .map(|rest| rest.trim_matches(['\'', '"']))
            .filter(|name| is_variable(name))
        {
            return Some(Self {
                sentence: format!("the variable `{name}` is missing"),
                trouble: Trouble::Setting {
                    variable: Some(name.to_owned()),
                },
            });
        }
        // What stands before it is a prefix of whoever wrote the line, or a colour.
        let at = ["SyntaxError: ", "IndentationError: ", "TabError: "]
            .iter()
            .find_map(|mark| line.find(mark))?;
        Some(Self {
            trouble: Trouble::Syntax,
            sentence: format!(
                "Python cannot read the code: {}{}",
                without_colour(&line[at..]),
                place(before)
            ),
        })
    }

    /// The last line that says any of it.
    pub fn in_log(log: &[String]) -> Option<Self> {
        (0..log.len()).rev().find_map(|at| Self::of_line(&log[at], &log[..at]))
    }
}

/// Docker's classic builder writes errors in red, and leaves the end of it to the line.
fn without_colour(text: &str) -> &str {
    text.split('\u{1b}').next().unwrap_or(text).trim()
}

/// Settings are named so; keys of other dictionaries rarely are.
fn is_variable(name: &str) -> bool {
    let may = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    name.len() > 2 && name.bytes().all(may)
}

/// File and line of code that cannot be read: between it and the error stand the line itself and a mark below it.
fn place(before: &[String]) -> String {
    const NEAR: usize = 4;
    let at = before.iter().rev().take(NEAR).find_map(|line| {
        let (file, line) = line.split_once("File \"")?.1.split_once("\", line ")?;
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        Some((file, &line[..digits]))
    });
    at.map_or_else(String::new, |(file, line)| format!(" ({file}, line {line})"))
}

fn not_found(module: &str, before: &[String]) -> LastWords {
    if asked_for_by_django(before) {
        return LastWords {
            trouble: Trouble::SettingsModule,
            sentence: format!("the settings module `{module}` is not in the image"),
        };
    }
    LastWords {
        trouble: match module.rsplit_once('.') {
            Some((package, _)) => Trouble::Module {
                package: package.to_owned(),
                module: module.to_owned(),
            },
            None => Trouble::Package,
        },
        sentence: format!("Python finds no module `{module}`"),
    }
}

/// Whether the innermost frame, but for those of the import itself, is Django's, where it loads the settings.
fn asked_for_by_django(before: &[String]) -> bool {
    let mut frames = before
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .take_while(|line| !line.starts_with("Traceback "))
        .filter(|line| line.starts_with("File \"") && !line.contains("importlib"));
    frames
        .next()
        .is_some_and(|frame| frame.contains("django/conf/__init__.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(log: &[&str]) -> Option<LastWords> {
        let log: Vec<String> = log.iter().map(ToString::to_string).collect();
        LastWords::in_log(&log)
    }

    #[test]
    fn the_place_of_unreadable_code_is_told_where_it_is_near() {
        let told = |log: &[&str]| words(log).unwrap().sentence;
        let file = "  File \"/app/blog/settings.py\", line 9, in <module>";
        assert!(
            told(&[file, "    x y", "      ^", "SyntaxError: invalid syntax"])
                .ends_with("(/app/blog/settings.py, line 9)")
        );
        let red = "\u{1b}[91m";
        let coloured = [
            &format!("{red}  File \"/app/blog/settings.py\", line 2\u{1b}[0m"),
            &format!("\u{1b}[0m{red}SyntaxError: '[' was never closed\u{1b}[0m"),
        ];
        assert_eq!(
            told(&coloured.map(String::as_str)),
            "Python cannot read the code: SyntaxError: '[' was never closed (/app/blog/settings.py, line 2)"
        );
        let far = [file, "1", "2", "3", "4", "IndentationError: unexpected indent"];
        assert_eq!(
            told(&far),
            "Python cannot read the code: IndentationError: unexpected indent"
        );
    }

    #[test]
    fn the_last_word_counts_and_other_words_do_not() {
        let log = ["KeyError: 'FIRST_KEY'", "KeyError: 'SECRET_KEY'", "exit"];
        let variable = Some("SECRET_KEY".to_owned());
        assert_eq!(words(&log).unwrap().trouble, Trouble::Setting { variable });
        assert_eq!(words(&["KeyError: 'lower'", "KeyError: 'AB'"]), None);
        let import = words(&["ImportError: cannot import name 'x' from 'blog'"]).unwrap();
        assert_eq!(import.trouble, Trouble::Import);
    }
}
