//! What would mend a build that failed.
//!
//! Invariant: where the cause is not certain there is no advice.

use nuages_model::{LastWords, Trouble};

use crate::error::is_disk_full;
use crate::{Dockerfile, ca_bundle};

/// What mends a Python program that ends in a build, where no release's variables are.
pub(crate) fn in_build(words: &LastWords) -> String {
    match &words.trouble {
        Trouble::Setting { variable } => {
            let what = variable.as_ref().map_or("it".to_owned(), |name| format!("`{name}`"));
            format!(
                "a build has no secrets of the release: let the settings do without {what} there, or give that RUN line a \
                 throw-away value"
            )
        }
        Trouble::Syntax => "correct it and run this again".to_owned(),
        Trouble::SettingsModule => {
            "correct DJANGO_SETTINGS_MODULE where the Dockerfile or manage.py sets it, or see that .dockerignore leaves the \
             file in"
                .to_owned()
        }
        Trouble::Package => {
            "add it to the project's requirements, or see that they are installed before that line".to_owned()
        }
        Trouble::Module { package, module } => format!(
            "`{package}` is there, and `{module}` is not: correct the name where it is imported, or see that .dockerignore \
             leaves the file in"
        ),
        Trouble::Import => {
            "correct the import, or require the version of the package that the project is developed with".to_owned()
        }
    }
}

/// What would mend a failed build. The engine has no codes for these, only words.
pub(crate) fn advice(message: &str, tail: &[String], dockerfile: &Dockerfile) -> Option<String> {
    let said = |words: &[&str]| {
        words
            .iter()
            .any(|word| message.contains(word) || tail.iter().any(|l| l.contains(word)))
    };
    if is_disk_full(message) || tail.iter().any(|line| is_disk_full(&line.to_lowercase())) {
        Some("the engine's disk is full: `docker system df` shows what fills it, `docker system prune` frees it".into())
    } else if said(&[
        "CERTIFICATE_VERIFY_FAILED",
        "certificate verify failed",
        "self-signed certificate in certificate chain",
    ]) {
        Some(format!(
            "TLS is inspected on this network: set `[build] ca_bundle = \"host\"` and use `ARG {}` in the Dockerfile",
            ca_bundle::ARGUMENT
        ))
    } else if said(&[
        "failed to resolve source metadata",
        "pull access denied",
        "manifest unknown",
        "failed to do request",
    ]) || message.contains("Get \"https://")
    {
        Some(match &dockerfile.syntax {
            Some(frontend) => format!(
                "an image could not be pulled; where no registry can be reached, remove the `# syntax={frontend}` line and \
                 have the base images in the engine (`docker images`)"
            ),
            None => {
                "the base image is not in the engine and could not be pulled: `docker images` shows what is there; \
                     pull or build it first, or name another with `ARG`"
                    .into()
            }
        })
    } else if [
        "failed to compute cache key",
        "failed to calculate checksum",
        "COPY failed",
    ]
    .iter()
    .any(|words| message.contains(words))
    {
        Some("COPY takes files of the project's folder: is it there, and does .dockerignore leave it in?".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_cause() {
        let plain = Dockerfile::default();
        let foreign = Dockerfile::read("# syntax=docker/dockerfile:1\nFROM a\n");
        let tail = |line: &str| vec![line.to_owned()];
        assert!(
            advice(
                "x",
                &tail("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]"),
                &plain
            )
            .unwrap()
            .contains("ca_bundle")
        );
        assert!(
            advice("write /x: no space left on device", &[], &plain)
                .unwrap()
                .contains("disk")
        );
        assert!(
            advice("pull access denied for nosuch", &[], &plain)
                .unwrap()
                .contains("docker images")
        );
        assert!(
            advice("failed to do request: Head", &[], &foreign)
                .unwrap()
                .contains("# syntax=")
        );
        assert!(
            advice("failed to compute cache key: \"/x\" not found: not found", &[], &plain)
                .unwrap()
                .contains(".dockerignore")
        );
        assert_eq!(advice("exit code: 1", &tail("boom"), &plain), None);
    }
}
