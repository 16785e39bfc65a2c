//! The way to another version of the tool, for whoever has records that this one cannot work on.
//!
//! Invariant: what stands in a record becomes part of a command only where it is a version and nothing else.

/// How the version is installed that did something to the records: `made this plan`, `wrote it`.
///
/// ```
/// let hint = nuages_saga::install("0.3.1", "made this plan");
/// assert!(hint.starts_with("install nuages 0.3.1, which made this plan: `cargo install "), "{hint}");
/// assert!(!nuages_saga::install("1; rm -rf ~", "made this plan").contains("rm"));
/// ```
pub fn install(tool: &str, did: &str) -> String {
    if !is_version(tool) {
        return format!("install the version of nuages that {did}, or a newer one");
    }
    let repository = env!("CARGO_PKG_REPOSITORY");
    format!(
        "install nuages {tool}, which {did}: `cargo install --locked --git {repository} --tag v{tool} nuages`, and \
         repeat the command"
    )
}

/// Three numbers, and what semantic versioning allows behind them.
fn is_version(text: &str) -> bool {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 64
        && numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn a_version_is_told_from_anything_else() {
        for version in ["0.1.0", "10.20.30", "1.0.0-rc.1", "1.0.0+build.7"] {
            assert!(is_version(version), "{version}");
        }
        let long = format!("1.0.0-{}", "a".repeat(64));
        for other in [
            "",
            "1",
            "1.0",
            "1..0",
            "v1.0.0",
            "1.0.0 nuages",
            "1.0.0;ls",
            "1.0.0-$(ls)",
            &long,
        ] {
            assert!(!is_version(other), "{other}");
        }
    }
}
