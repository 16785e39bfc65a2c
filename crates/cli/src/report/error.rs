//! The last words of a run that failed.
//!
//! Invariant: one sentence of what failed, then the causes, outermost first, then the hint; each begins its own line,
//! so that a command in a hint can be copied.

use std::io::{self, Write};

use nuages_saga::ErrorReport;

use super::style::{Paint, Style};
use super::text::clean;

/// Prints an error: `error:`, its causes, and `hint:`.
pub(crate) fn write(err: &mut dyn Write, report: &ErrorReport, style: Style) -> io::Result<()> {
    match err
        .write_all(render(report, style).as_bytes())
        .and_then(|()| err.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The text of [`write()`].
pub(crate) fn render(report: &ErrorReport, style: Style) -> String {
    let mut lines = vec![format!(
        "{} {}",
        style.paint(Paint::Bad, "error:"),
        block(&report.message, 7)
    )];
    let causes = report.causes.iter();
    lines.extend(causes.map(|cause| format!("  {} {}", style.paint(Paint::Dim, "caused by:"), block(cause, 13))));
    lines.extend(report.hint.iter().map(|text| hint(text, style)));
    lines.join("\n") + "\n"
}

/// What to do next.
pub(crate) fn hint(text: &str, style: Style) -> String {
    format!("{} {}", style.paint(Paint::Busy, "hint:"), block(text, 6))
}

/// Text of several lines, the later ones under the first.
pub(super) fn block(text: &str, indent: usize) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(clean).collect();
    lines.join(&format!("\n{:indent$}", ""))
}
