//! `nuages.lock`: what an image was made of, so that it can be made again.
//!
//! * the base: the digests that its name stood for;
//! * the packages that no other lock pins;
//! * `uv`'s version, and the form in which layers are written.
//!
//! Invariant: a file that is not of nuages, or of a newer one, is never written over. Nothing secret stands in it. Where
//! pins are frozen, as in CI, what is missing is an error and nothing is written.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nuages_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Base, ImageError, gzip, packages, tree};

/// The form of the file.
const VERSION: u32 = 1;

const HEAD: &str =
    "# Written by nuages: what an image is made of. Keep it in version control; do not edit it by hand.\n\n";

/// What may be done where a pin is missing or another one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// What is missing or out of date is pinned; the rest stays.
    Missing,
    /// Everything is pinned anew.
    Upgrade,
    /// Nothing may be missing: for CI, where nobody would keep what was written.
    Frozen,
}

impl Pinning {
    /// [`Frozen`](Self::Frozen) in CI, as `CI=true` tells; [`Upgrade`](Self::Upgrade) where that is asked for.
    pub fn here(upgrade: bool) -> Self {
        let ci = std::env::var("CI").unwrap_or_default();
        Self::of(upgrade, &ci)
    }

    fn of(upgrade: bool, ci: &str) -> Self {
        let ci = !matches!(ci.trim().to_ascii_lowercase().as_str(), "" | "0" | "false" | "no");
        match (upgrade, ci) {
            (true, _) => Self::Upgrade,
            (false, true) => Self::Frozen,
            (false, false) => Self::Missing,
        }
    }
}

/// `nuages.lock`.
///
/// ```
/// use nuages_image::{Base, Pinning, Pins};
///
/// # fn main() -> Result<(), nuages_image::ImageError> {
/// # let folder = tempfile::tempdir().unwrap();
/// let file = folder.path().join("nuages.lock");
/// let mut pins = Pins::read(&file, Pinning::Missing)?;
/// pins.pin_base("scratch", &Base::scratch("linux/amd64"), true)?;
/// assert!(pins.write()?, "there was none");
/// assert!(!Pins::read(&file, Pinning::Frozen)?.write()?, "nothing changed");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pins {
    file: PathBuf,
    pinning: Pinning,
    content: Content,
    there: Option<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    uv: String,
    layers: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    base: BTreeMap<String, BasePin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packages: Vec<PackagesPin>,
}

/// What a base's name stood for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasePin {
    /// It was made on a machine: another one has other bytes under the same name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    local: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Digest>,
    platforms: BTreeMap<String, Digest>,
}

/// Packages that were resolved here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackagesPin {
    pub(crate) group: String,
    pub(crate) python: String,
    pub(crate) platform: String,
    pub(crate) libc: String,
    /// The files that ask for them.
    pub(crate) from: String,
    /// The digest of what they ask for.
    pub(crate) input: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) first_party: Vec<String>,
    /// As a `requirements.txt` with hashes.
    pub(crate) list: String,
}

impl PackagesPin {
    fn is_for_the_same(&self, other: &Self) -> bool {
        let place = |pin: &Self| {
            (
                pin.group.clone(),
                pin.python.clone(),
                pin.platform.clone(),
                pin.libc.clone(),
            )
        };
        place(self) == place(other)
    }
}

impl Content {
    fn new() -> Self {
        Self {
            version: VERSION,
            uv: packages::uv_version().to_owned(),
            layers: format!("{} {} {}", packages::FORMAT, tree::FORMAT, gzip::FORMAT),
            base: BTreeMap::new(),
            packages: Vec::new(),
        }
    }
}

impl Pins {
    /// Reads the file, which need not be there.
    pub fn read(file: &Path, pinning: Pinning) -> Result<Self, ImageError> {
        let none = Self {
            file: file.to_owned(),
            pinning,
            content: Content::new(),
            there: None,
        };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(none),
            Err(error) => return Err(ImageError::file("read", file)(error)),
        };
        let refuse = |why: String, hint: &str| ImageError::Pins {
            file: file.to_owned(),
            why,
            hint: hint.to_owned(),
        };
        let parsed: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let marked = text.contains("<<<<<<<");
            let hint = if marked {
                "solve the merge conflict in it"
            } else {
                "take it from version control again"
            };
            refuse(format!("it is no TOML: {}", error.message()), hint)
        })?;
        match parsed.get("version").and_then(toml::Value::as_integer) {
            Some(1) => {}
            Some(newer @ 2..) => {
                return Err(refuse(
                    format!("it has the form {newer}, which a newer nuages wrote; this one knows {VERSION}"),
                    "update nuages",
                ));
            }
            _ => return Err(refuse("it is not of nuages".into(), "move it to another name")),
        }
        let content = Content::deserialize(parsed)
            .map_err(|error| refuse(error.message().to_owned(), "take it from version control again"))?;
        Ok(Self {
            content: content.clone(),
            there: Some(content),
            ..none
        })
    }

    /// By which digest a base is read: that of its index, or of its manifest where there is none. `None` where its name
    /// decides: it is not pinned, is to be pinned anew, or was made on a machine.
    pub fn base(&self, name: &str) -> Option<&Digest> {
        if self.pinning == Pinning::Upgrade {
            return None;
        }
        let pin = self.content.base.get(name).filter(|pin| !pin.local)?;
        pin.index.as_ref().or_else(|| pin.platforms.values().next())
    }

    /// Pins what a base's name stands for, or compares it with what it stood for. `local`: it was made on this machine,
    /// so its digest is told and nothing more.
    pub fn pin_base(&mut self, name: &str, base: &Base, local: bool) -> Result<(), ImageError> {
        self.same_builder()?;
        let platform = base.platform();
        let digest = base.digest().cloned();
        let known = self.content.base.get(name);
        if self.pinning == Pinning::Frozen {
            return match known {
                _ if local => Ok(()),
                Some(pin) if !pin.local => match pin.platforms.get(&platform) {
                    Some(pinned) if Some(pinned) == digest.as_ref() => Ok(()),
                    Some(pinned) => Err(self.other_base(name, digest.as_ref(), pinned)),
                    None => Err(self.refuse(format!("it lacks the digest of {name} for {platform}"))),
                },
                _ => Err(self.refuse(format!("it lacks the digest of {name}"))),
            };
        }
        let stays = known.filter(|pin| !pin.local && !local && self.pinning == Pinning::Missing);
        if let Some(pin) = stays {
            let (pinned, found) = match (&pin.index, base.index()) {
                (Some(pinned), found) => (Some(pinned), found),
                (None, _) => (pin.platforms.get(&platform), digest.as_ref()),
            };
            // Who reads it by the pinned digest finds that one.
            if let Some(pinned) = pinned.filter(|pinned| Some(*pinned) != found) {
                return Err(self.other_base(name, found, pinned));
            }
        }
        let mut pin = stays.cloned().unwrap_or_default();
        pin.local = local;
        pin.index = base.index().cloned().filter(|_| !local);
        pin.platforms.extend(digest.map(|digest| (platform, digest)));
        self.content.base.insert(name.to_owned(), pin);
        Ok(())
    }

    pub(crate) fn pinning(&self) -> Pinning {
        self.pinning
    }

    /// What another version of the builder writes has other digests.
    fn same_builder(&mut self) -> Result<(), ImageError> {
        let Content { uv, layers, .. } = Content::new();
        if self.pinning == Pinning::Frozen
            && self.there.is_some()
            && (&uv, &layers) != (&self.content.uv, &self.content.layers)
        {
            return Err(self.refuse("it was written by a version of nuages that makes other layers".to_owned()));
        }
        (self.content.uv, self.content.layers) = (uv, layers);
        Ok(())
    }

    pub(crate) fn packages(&self, like: &PackagesPin) -> Option<&PackagesPin> {
        self.content.packages.iter().find(|pin| pin.is_for_the_same(like))
    }

    pub(crate) fn put_packages(&mut self, pin: PackagesPin) {
        self.content.packages.retain(|other| !other.is_for_the_same(&pin));
        self.content.packages.push(pin);
        self.content.packages.sort_by_cached_key(|pin| {
            (
                pin.group.clone(),
                pin.python.clone(),
                pin.platform.clone(),
                pin.libc.clone(),
            )
        });
    }

    /// Writes what changed. `false` if nothing did, or nothing is pinned.
    pub fn write(&self) -> Result<bool, ImageError> {
        let nothing = self.content.base.is_empty() && self.content.packages.is_empty();
        if self.there.as_ref() == Some(&self.content) || self.there.is_none() && nothing {
            return Ok(false);
        }
        let failed = |error: std::io::Error| ImageError::file("write", &self.file)(error);
        let text = toml::to_string_pretty(&self.content).map_err(|error| failed(std::io::Error::other(error)))?;
        // A link stays one.
        let file = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut made = tempfile::Builder::new();
        #[cfg(unix)]
        made.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut part = made
            .prefix(".nuages.lock-")
            .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))
            .map_err(failed)?;
        part.write_all(HEAD.as_bytes()).map_err(failed)?;
        part.write_all(text.as_bytes()).map_err(failed)?;
        part.as_file().sync_all().map_err(failed)?;
        part.persist(&file).map_err(|error| failed(error.error))?;
        Ok(true)
    }

    fn other_base(&self, name: &str, found: Option<&Digest>, pinned: &Digest) -> ImageError {
        let found = found.map_or_else(|| "none".to_owned(), |digest| digest.short().to_string());
        ImageError::Pins {
            file: self.file.clone(),
            why: format!("{name} is {found}, and {} is pinned", pinned.short()),
            hint: format!("renew nuages.lock if the new {name} is meant"),
        }
    }

    pub(crate) fn refuse(&self, why: String) -> ImageError {
        let there = self.there.is_some();
        ImageError::Pins {
            file: self.file.clone(),
            why: if there || self.pinning != Pinning::Frozen {
                why
            } else {
                "there is none".to_owned()
            },
            hint: "build the image once on your machine, outside CI, and commit the nuages.lock that this writes"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin(group: &str, list: &str) -> PackagesPin {
        PackagesPin {
            group: group.into(),
            python: "3.13".into(),
            platform: "linux/amd64".into(),
            libc: "glibc".into(),
            from: "requirements.txt".into(),
            input: Digest::of(b"asked"),
            first_party: Vec::new(),
            list: list.into(),
        }
    }

    #[test]
    fn ci_is_told_by_its_variable() {
        for (ci, pinning) in [
            ("true", Pinning::Frozen),
            ("1", Pinning::Frozen),
            ("", Pinning::Missing),
            ("false", Pinning::Missing),
        ] {
            assert_eq!(Pinning::of(false, ci), pinning, "{ci}");
            assert_eq!(Pinning::of(true, ci), Pinning::Upgrade, "{ci}");
        }
    }

    #[test]
    fn the_file_reads_well_and_is_written_only_where_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuages.lock");
        let mut pins = Pins::read(&file, Pinning::Missing).unwrap();
        assert!(!pins.write().unwrap() && !file.exists(), "nothing is pinned");
        pins.content.layers = "layers".into();
        pins.content.uv = "1.2.3".into();
        pins.content.base.insert(
            "python:3.13-slim".into(),
            BasePin {
                index: Some(Digest::of(b"index")),
                platforms: [("linux/amd64".to_owned(), Digest::of(b"manifest"))].into(),
                ..BasePin::default()
            },
        );
        pins.put_packages(pin(
            "main",
            "django==5.2 \\\n    --hash=sha256:00\nsqlparse==0.5 \\\n    --hash=sha256:11\n",
        ));
        pins.put_packages(pin("checks", "old==1\n"));
        pins.put_packages(pin("checks", "pytest==8\n"));
        assert!(pins.write().unwrap());
        insta::assert_snapshot!(std::fs::read_to_string(&file).unwrap());
        let again = Pins::read(&file, Pinning::Missing).unwrap();
        assert_eq!(again.content, pins.content);
        assert!(!again.write().unwrap());
        assert_eq!(again.base("python:3.13-slim"), Some(&Digest::of(b"index")));
        assert_eq!(
            Pins::read(&file, Pinning::Upgrade).unwrap().base("python:3.13-slim"),
            None
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_ours_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuages.lock");
        let mut said = Vec::new();
        for text in [
            "version = 2\nanything = true\n",
            "version = 1\nuv = \"1\"\nlayers = \"l\"\nmore = true\n",
            "lock = 1\n",
            "version = \"1\"\n",
            "<<<<<<< HEAD\nversion = 1\n",
            "not toml",
            "",
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Pins::read(&file, Pinning::Missing).unwrap_err();
            let place = folder.path().display().to_string();
            said.push(format!(
                "{}; {}",
                error.to_string().replace(&place, "PROJECT"),
                error.hint().unwrap()
            ));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn ci_refuses_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuages.lock");
        let base = Base::scratch("linux/amd64");
        let refused = |pins: &mut Pins, name: &str| pins.pin_base(name, &base, false).unwrap_err().to_string();
        let mut ci = Pins::read(&file, Pinning::Frozen).unwrap();
        assert!(refused(&mut ci, "python:3.13").ends_with("there is none"));
        ci.pin_base("python:3.13", &base, true).unwrap();
        let mut pins = Pins::read(&file, Pinning::Missing).unwrap();
        pins.pin_base("other:1", &base, false).unwrap();
        pins.write().unwrap();
        let mut ci = Pins::read(&file, Pinning::Frozen).unwrap();
        assert!(refused(&mut ci, "python:3.13").ends_with("it lacks the digest of python:3.13"));
        ci.content.layers = "older".into();
        assert!(refused(&mut ci, "other:1").contains("makes other layers"));
    }

    #[test]
    fn another_image_under_the_same_name_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuages.lock");
        let pinned = |pinning: Pinning| {
            let mut pins = Pins::read(&file, pinning).unwrap();
            let pin = BasePin {
                platforms: [("linux/amd64".to_owned(), Digest::of(b"before"))].into(),
                ..BasePin::default()
            };
            pins.content.base.insert("python:3.13".into(), pin);
            pins
        };
        let base = Base::scratch("linux/amd64");
        for pinning in [Pinning::Missing, Pinning::Frozen] {
            let said = pinned(pinning)
                .pin_base("python:3.13", &base, false)
                .unwrap_err()
                .to_string();
            assert!(
                said.contains("python:3.13 is none, and") && said.ends_with("is pinned"),
                "{said}"
            );
        }
        let mut renewed = pinned(Pinning::Upgrade);
        renewed.pin_base("python:3.13", &base, false).unwrap();
        assert_eq!(
            renewed.content.base["python:3.13"].platforms.len(),
            0,
            "what was pinned before is gone"
        );
        let mut local = pinned(Pinning::Missing);
        local.pin_base("python:3.13", &base, true).unwrap();
        assert_eq!(local.base("python:3.13"), None, "told, and not asked for");
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "(version = [0-9]\n)?(uv = \"1\"\nlayers = \"1\"\n)?\\PC{0,60}") {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("nuages.lock");
            std::fs::write(&file, &text).unwrap();
            let _ = Pins::read(&file, Pinning::Missing);
            prop_assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
