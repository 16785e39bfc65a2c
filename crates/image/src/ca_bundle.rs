//! Certificates that a build may need and an image must not keep: companies that inspect TLS have an authority of their own.
//!
//! They reach the build as the argument `NUAGES_CA_BUNDLE`, the base64 of a PEM file, where the Dockerfile declares it:
//!
//! ```dockerfile
//! FROM python:3.13-slim AS deps
//! ARG NUAGES_CA_BUNDLE=""
//! RUN if [ -n "$NUAGES_CA_BUNDLE" ]; then \
//!       echo "$NUAGES_CA_BUNDLE" | base64 -d | cat /etc/ssl/certs/ca-certificates.crt - > /tmp/ca.pem; \
//!       export PIP_CERT=/tmp/ca.pem SSL_CERT_FILE=/tmp/ca.pem; \
//!     fi; \
//!     pip install --prefix=/deps -r requirements.txt; rm -f /tmp/ca.pem
//! FROM python:3.13-slim
//! COPY --from=deps /deps /usr/local
//! ```
//!
//! An argument, because it is all that works with BuildKit *and* the classic builder: the latter refuses `RUN --mount`,
//! so a Dockerfile with a secret mount would no longer build with a plain `docker build` of an older engine. An argument
//! that a stage uses is kept in that stage's history; so it belongs into a stage whose files are copied out, and
//! [`export`](crate::export) warns where the final image's history holds it.
//!
//! Invariant: what is handed over fits the one string that the kernel allows a program's environment (128 KiB).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ImageError;

/// The name of the argument.
pub const ARGUMENT: &str = "NUAGES_CA_BUNDLE";

// MAX_ARG_STRLEN of Linux is 131,072 with the name, the `=` and the final zero.
const MAX_ENCODED: usize = 131_000 - ARGUMENT.len();

/// Which certificates a build gets, `[build] ca_bundle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaBundle {
    /// Those that this machine trusts beyond the public ones (`"host"`).
    Host,
    /// Those of a PEM file.
    File(PathBuf),
}

/// Where systems keep the certificates that their owner added: Debian, Red Hat, Arch, SUSE.
const ADDED: [&str; 4] = [
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
    "/etc/pki/trust/anchors",
];

/// Where Debian keeps the public ones.
const PUBLIC: &str = "/usr/share/ca-certificates/mozilla";

/// Programs that are told of a bundle are told through these.
const VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

impl CaBundle {
    /// The argument's value; `None` where this machine trusts nothing beyond the public authorities.
    pub(crate) fn encoded(&self) -> Result<Option<String>, ImageError> {
        let certificates = match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(ImageError::file("read", path))?;
                let found = certificates(&text);
                if found.is_empty() {
                    return Err(ImageError::CaBundle {
                        why: format!("{} holds no PEM certificate", path.display()),
                        advice: "name a PEM file (`-----BEGIN CERTIFICATE-----`) in `[build] ca_bundle`".into(),
                    });
                }
                found
            }
            Self::Host => host_certificates(&ADDED.map(PathBuf::from), Path::new(PUBLIC), &|name| {
                std::env::var_os(name)
            }),
        };
        if certificates.is_empty() {
            return Ok(None);
        }
        let encoded = STANDARD.encode(certificates.concat());
        if encoded.len() > MAX_ENCODED {
            return Err(ImageError::CaBundle {
                why: format!(
                    "{} certificates are more than the kernel lets a build step have",
                    certificates.len()
                ),
                advice: "name a file with your company's certificates alone in `[build] ca_bundle`".into(),
            });
        }
        Ok(Some(encoded))
    }
}

fn host_certificates(
    added: &[PathBuf],
    public: &Path,
    variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
) -> Vec<String> {
    let mut found: BTreeSet<String> = added.iter().flat_map(|folder| certificates_below(folder)).collect();
    let known: BTreeSet<String> = certificates_below(public).into_iter().collect();
    // A bundle that programs are told of may hold authorities that stand in no such folder. Where the public ones are not
    // known there is nothing to tell them apart by, and a whole bundle would not fit.
    if found.is_empty() || !known.is_empty() {
        for name in VARIABLES {
            if let Some(text) = variable(name).and_then(|path| std::fs::read_to_string(path).ok()) {
                found.extend(certificates(&text));
            }
        }
    }
    found
        .into_iter()
        .filter(|certificate| !known.contains(certificate))
        .collect()
}

fn certificates_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .flat_map(|text| certificates(&text))
        .collect()
}

/// The certificates of a PEM file, each in one form, without the comments between them.
fn certificates(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    text.split(BEGIN)
        .skip(1)
        .filter_map(|part| part.split_once(END))
        .map(|(body, _)| {
            let body: String = body.split_whitespace().flat_map(|line| [line, "\n"]).collect();
            format!("{BEGIN}\n{body}{END}\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(body: &str) -> String {
        format!("# a comment\n-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn only_what_is_not_public_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (added, public) = (folder.path().join("added"), folder.path().join("public"));
        std::fs::create_dir_all(&added).unwrap();
        std::fs::create_dir_all(&public).unwrap();
        std::fs::write(public.join("a.crt"), pem("PUBLIC")).unwrap();
        std::fs::write(added.join("own.crt"), pem("OWN")).unwrap();
        let bundle = folder.path().join("bundle.pem");
        std::fs::write(&bundle, format!("{}{}{}", pem("PUBLIC"), pem("OWN"), pem("OTHER"))).unwrap();
        let told = |name: &str| (name == "PIP_CERT").then(|| bundle.clone().into_os_string());

        let found = host_certificates(std::slice::from_ref(&added), &public, &told).concat();
        assert!(
            found.contains("OWN") && found.contains("OTHER") && !found.contains("PUBLIC"),
            "{found}"
        );
        assert_eq!(found.matches("OWN").count(), 1);

        // Without the list of public ones, the added folder alone says what is special.
        let found = host_certificates(&[added], &folder.path().join("none"), &told).concat();
        assert!(found.contains("OWN") && !found.contains("OTHER"), "{found}");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.pem");
        let many: String = (0..100).map(|n| pem(&format!("{n:02}{}", "A".repeat(1300)))).collect();
        std::fs::write(&path, many).unwrap();
        let error = CaBundle::File(path.clone()).encoded().unwrap_err();
        assert!(error.to_string().contains("100 certificates"), "{error}");

        std::fs::write(&path, "nothing").unwrap();
        let error = CaBundle::File(path.clone()).encoded().unwrap_err();
        assert!(error.hint().is_some(), "{error}");

        std::fs::write(&path, pem("AAAA")).unwrap();
        let encoded = CaBundle::File(path).encoded().unwrap().unwrap();
        assert_eq!(
            STANDARD.decode(encoded).unwrap(),
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        );
    }
}
