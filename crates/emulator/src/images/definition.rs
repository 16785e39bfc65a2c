//! The definitions in `fixtures/images`, embedded, and the hash that says which one an image was built from.
//!
//! Invariant: the hash covers everything the definition's author can change: the files, the name, and what it stands on.

use ring::digest::{Context, SHA256};

use crate::EmulatorError;

/// On a built image: the name of its definition.
pub const IMAGE_LABEL: &str = "nuages.image";
/// On a built image: the hash of its definition.
pub const DEFINITION_LABEL: &str = "nuages.definition";

/// One file of a definition.
#[derive(Debug)]
pub(crate) struct EmbeddedFile {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    pub(crate) executable: bool,
}

/// One image that nuages knows how to make.
#[derive(Debug)]
pub struct Image {
    /// The folder of its definition.
    pub name: &'static str,
    /// Its full name in the engine.
    pub tag: &'static str,
    /// The folder of the image it stands on.
    pub parent: Option<&'static str>,
    /// Whether registries have it.
    pub published: bool,
    pub(crate) local: bool,
    pub(crate) test: bool,
    /// Seconds that a build takes, roughly: the longest begins first.
    pub(crate) weight: u32,
    pub(crate) files: &'static [EmbeddedFile],
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

macro_rules! embedded {
    ($folder:literal / $path:literal) => {
        embedded!($folder / $path, false)
    };
    ($folder:literal / $path:literal, $executable:literal) => {
        EmbeddedFile {
            path: $path,
            text: include_str!(concat!("../../../../fixtures/images/", $folder, "/", $path)),
            executable: $executable,
        }
    };
}

/// Every image, those that others stand on first.
pub static IMAGES: [Image; 6] = [
    Image {
        name: "base",
        tag: "nuages/base:trixie",
        parent: None,
        published: false,
        local: false,
        test: false,
        weight: 25,
        files: &[embedded!("base" / "packages.txt")],
    },
    Image {
        name: "python",
        tag: "python:3.13-slim",
        parent: Some("base"),
        published: true,
        local: true,
        test: true,
        weight: 10,
        files: &[
            embedded!("python" / "Dockerfile"),
            embedded!("python" / "apt-clean.conf"),
        ],
    },
    Image {
        name: "ministack",
        tag: crate::ministack::IMAGE,
        parent: Some("python"),
        published: true,
        local: true,
        test: true,
        weight: 40,
        files: &[
            embedded!("ministack" / "Dockerfile"),
            embedded!("ministack" / "requirements.txt"),
        ],
    },
    Image {
        name: "postgres",
        tag: "postgres:17-alpine",
        parent: Some("python"),
        published: true,
        local: true,
        test: true,
        weight: 50,
        files: &[
            embedded!("postgres" / "Dockerfile"),
            embedded!("postgres" / "docker-entrypoint.sh", true),
        ],
    },
    Image {
        name: "localstack",
        tag: "localstack/localstack:4.14.0",
        parent: Some("python"),
        published: true,
        local: false,
        test: true,
        weight: 100,
        files: &[
            embedded!("localstack" / "Dockerfile"),
            embedded!("localstack" / "requirements.txt"),
        ],
    },
    Image {
        name: "registry",
        tag: "registry:2",
        parent: Some("python"),
        published: true,
        local: false,
        test: true,
        weight: 20,
        files: &[
            embedded!("registry" / "Dockerfile"),
            embedded!("registry" / "config.yml"),
        ],
    },
];

/// The image with this folder or full name.
///
/// ```
/// let image = nuages_emulator::images::find("postgres")?;
/// assert_eq!(image.tag, "postgres:17-alpine");
/// assert_eq!(nuages_emulator::images::find("postgres:17-alpine")?.name, "postgres");
/// # Ok::<(), nuages_emulator::EmulatorError>(())
/// ```
pub fn find(name: &str) -> Result<&'static Image, EmulatorError> {
    IMAGES
        .iter()
        .find(|image| image.name == name || image.tag == name)
        .ok_or_else(|| EmulatorError::UnknownImage {
            name: name.to_owned(),
            known: IMAGES.iter().map(|image| image.name).collect::<Vec<_>>().join(", "),
        })
}

impl Image {
    /// The hash of the definition and of all that it stands on, as hexadecimal digits.
    ///
    /// ```
    /// use nuages_emulator::images::find;
    /// assert_ne!(find("python")?.hash(), find("ministack")?.hash());
    /// # Ok::<(), nuages_emulator::EmulatorError>(())
    /// ```
    pub fn hash(&self) -> String {
        let mut context = Context::new(&SHA256);
        let mut add = |text: &str| {
            // The length first, so that no two definitions run together into the same bytes.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        add(self.tag);
        add(&self.parent().map(Self::hash).unwrap_or_default());
        for file in self.files {
            add(file.path);
            add(if file.executable { "x" } else { "-" });
            add(file.text);
        }
        hex::encode(context.finish())
    }

    /// The image it stands on.
    pub fn parent(&self) -> Option<&'static Image> {
        let name = self.parent?;
        IMAGES.iter().find(|image| image.name == name)
    }

    /// What it stands on, the lowest first.
    pub(crate) fn ancestors(&self) -> Vec<&'static Image> {
        let mut all = Vec::new();
        let mut next = self.parent();
        while let Some(image) = next {
            all.insert(0, image);
            next = image.parent();
        }
        all
    }

    pub(crate) fn file(&self, path: &str) -> &'static str {
        self.files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| file.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_every_definition_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images");
        let mut on_disk = BTreeSet::new();
        for entry in std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
        {
            for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
                on_disk.insert((
                    entry.file_name().into_string().unwrap(),
                    file.file_name().into_string().unwrap(),
                ));
            }
        }
        let embedded = IMAGES.iter().flat_map(|image| {
            image
                .files
                .iter()
                .map(|file| (image.name.to_owned(), file.path.to_owned()))
        });
        assert_eq!(on_disk, embedded.collect::<BTreeSet<_>>());
    }

    #[test]
    fn hashes_differ_and_cover_what_an_image_stands_on() {
        let hashes: BTreeSet<_> = IMAGES.iter().map(Image::hash).collect();
        assert_eq!(hashes.len(), IMAGES.len());
        let orphan = Image {
            name: "python",
            tag: "python:3.13-slim",
            parent: None,
            published: true,
            local: true,
            test: true,
            weight: 1,
            files: find("python").unwrap().files,
        };
        assert_ne!(
            orphan.hash(),
            find("python").unwrap().hash(),
            "the base is part of the hash"
        );
    }

    #[test]
    fn parents_come_before_children() {
        for (place, image) in IMAGES.iter().enumerate() {
            for parent in image.ancestors() {
                assert!(
                    IMAGES[..place].contains(parent),
                    "{} stands after {}",
                    parent.name,
                    image.name
                );
            }
            assert_eq!(image.parent.is_some(), image.parent().is_some(), "{}", image.name);
        }
        let names: Vec<_> = find("ministack")
            .unwrap()
            .ancestors()
            .iter()
            .map(|image| image.name)
            .collect();
        assert_eq!(names, ["base", "python"]);
    }

    #[test]
    fn what_is_pinned_is_pinned_exactly() {
        for name in ["ministack", "localstack"] {
            for line in find(name).unwrap().file("requirements.txt").lines() {
                let (package, version) = line.split_once("==").unwrap_or_else(|| panic!("{name}: {line}"));
                assert!(
                    !package.is_empty() && version.chars().next().is_some_and(|c| c.is_ascii_digit()),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn no_definition_names_a_host_or_keeps_the_mount() {
        for image in &IMAGES {
            for file in image.files {
                assert!(!file.text.contains("://"), "{}/{}", image.name, file.path);
            }
            let dockerfile = image.file("Dockerfile");
            assert_eq!(
                dockerfile.matches("/run/host").count(),
                2 * dockerfile.matches("--mount=type=bind,source=host").count(),
                "{}: each step that reads the host's set-up mounts it, and mentions it nowhere else",
                image.name
            );
        }
    }
}
