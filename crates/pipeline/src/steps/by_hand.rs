//! Commands for a person, where an undo failed.
//!
//! Invariant: each is whole: it names region and endpoint, and a shell reads every word as it was meant.

use nuages_aws::AwsContext;

/// A command of the AWS CLI.
pub(super) fn aws(context: &AwsContext, words: &[&str]) -> String {
    let mut line = String::from("aws");
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    line.push_str(" --region ");
    line.push_str(&quoted(context.region().as_str()));
    if let Some(endpoint) = context.sdk().endpoint_url() {
        line.push_str(" --endpoint-url ");
        line.push_str(&quoted(endpoint));
    }
    line
}

/// A word as a POSIX shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use proptest::prelude::*;

    proptest! {
        #[test]
        #[cfg(unix)]
        fn a_shell_reads_the_word_back(word in "[^\u{0}]{0,20}") {
            let line = format!("printf %s {}", quoted(&word));
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(quoted("blog-local-web:3"), "blog-local-web:3");
        assert_eq!(quoted(r#"{"a":1}"#), r#"'{"a":1}'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
