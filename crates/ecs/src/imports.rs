//! What it means that Python cannot import something.
//!
//! Invariant: only a module without a package is called a requirement. A package that was found and lacks a module is in
//! the image, and so the name or the file is wrong.

use crate::clues::{Clue, between};
use crate::diagnosis::Cause;

/// A line of a traceback that says so, with the lines before it.
pub(crate) fn failed(line: &str, before: &[String]) -> Option<Clue> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim());
    if let Some(rest) = after("ModuleNotFoundError: ") {
        let module = between(rest, "No module named ", &[';'])
            .unwrap_or(rest)
            .trim_matches(['\'', '"']);
        return Some(not_found(module, before));
    }
    let rest = after("ImportError: ")?;
    Some(Clue::new(
        Cause::Module,
        format!("Python cannot import: {rest}"),
        "correct the import, or require the version of the package that the project is developed with",
    ))
}

fn not_found(module: &str, before: &[String]) -> Clue {
    if asked_for_by_django(before) {
        return Clue::new(
            Cause::Module,
            format!("the settings module `{module}` is not in the image"),
            "correct DJANGO_SETTINGS_MODULE in `[env]`, or what sets it where that does not (wsgi.py, manage.py), or see that \
             .dockerignore leaves the file in",
        );
    }
    let hint = match module.rsplit_once('.') {
        Some((package, _)) => format!(
            "`{package}` is in the image, and `{module}` is not: correct the name in `command` or where it is imported, or see \
             that .dockerignore leaves the file in"
        ),
        None => "add it to the project's requirements, or correct the command's module path".to_owned(),
    };
    Clue::new(Cause::Module, format!("Python finds no module `{module}`"), hint)
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
