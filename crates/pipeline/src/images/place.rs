//! Where an image is, or is to go.
//!
//! Invariant: a password is given to the registry that the login was made for, and to no other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use nuages_aws::{AwsContext, AwsSettings};
use nuages_image::OciLayout;
use nuages_model::{BlobSource, Digest, ImageRef, Region};
use nuages_registry::{Ecr, Logins, Options, Registry, Repository};

use crate::error::PipelineError;

/// Where an image is, or is to go.
///
/// ```
/// use nuages_pipeline::Place;
///
/// let place: Place = "oci:build/blog:v7".parse()?;
/// assert_eq!(place.to_string(), "oci:build/blog:v7");
/// assert!("docker:nuages/blog".parse::<Place>().is_ok());
/// assert!("ghcr.io/team/blog:v7".parse::<Place>().is_ok());
/// # Ok::<(), nuages_pipeline::PlaceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository of a registry.
    Registry(ImageRef),
    /// A folder in the OCI image layout, and a name or digest in it.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// What the image is called there; without it, the only one.
        name: Option<String>,
    },
    /// The Docker engine.
    Engine(String),
}

/// What is no place of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image: {why}")]
pub struct PlaceError {
    text: String,
    why: String,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let refuse = |why: &str| PlaceError {
            text: text.chars().take(200).collect(),
            why: why.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            // A digest has a colon of its own; a tag has no slash.
            let by_digest = rest.rsplit_once('@');
            let (folder, name) = match by_digest.filter(|(_, digest)| digest.parse::<Digest>().is_ok()) {
                Some((folder, digest)) => (folder, Some(digest)),
                None => match rest.rsplit_once(':') {
                    Some((folder, tag)) if !tag.contains('/') => (folder, Some(tag)),
                    _ => (rest, None),
                },
            };
            if folder.is_empty() || name.is_some_and(str::is_empty) {
                return Err(refuse(
                    "a folder in OCI's layout is written oci:DIR, oci:DIR:TAG or oci:DIR@DIGEST",
                ));
            }
            return Ok(Self::Layout {
                folder: folder.into(),
                name: name.map(str::to_owned),
            });
        }
        // Others write `docker://` for a registry, and mean it.
        if let Some(name) = text.strip_prefix("docker:").filter(|name| !name.starts_with("//")) {
            if name.is_empty() || name.starts_with('-') {
                return Err(refuse("an image of the engine is written docker:NAME"));
            }
            return Ok(Self::Engine(name.to_owned()));
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        reference
            .parse()
            .map(Self::Registry)
            .map_err(|error: nuages_model::ImageRefError| refuse(&error.to_string()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(image) => write!(f, "{image}"),
            Self::Engine(name) => write!(f, "docker:{name}"),
            Self::Layout { folder, name } => {
                write!(f, "oci:{}", folder.display())?;
                match name {
                    Some(name) if name.parse::<Digest>().is_ok() => write!(f, "@{name}"),
                    Some(name) => write!(f, ":{name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What an image is called in its registry: its digest, its tag, or the usual one.
pub(super) fn reference(image: &ImageRef) -> String {
    match (image.digest(), image.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// A repository, with this machine's login for it.
pub(super) async fn repository(image: &ImageRef) -> Result<Repository, PipelineError> {
    let (host, name) = (image.host(), image.repository());
    let registry = if let Some(region) = ecr_region(host) {
        let settings = AwsSettings {
            region: Some(region),
            ..AwsSettings::default()
        };
        let aws = AwsContext::connect(&settings).await?;
        let login = Ecr::new(&aws).login().await?;
        let options = Options {
            password_first: true,
            ..Options::default()
        };
        Registry::new(host, login.credentials, options)?
    } else {
        let credentials = Logins::of_this_machine().credentials(host, name).await?;
        Registry::new(host, credentials, Options::default())?
    };
    Ok(registry.repository(name))
}

/// The region of `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, with China's ending, too.
fn ecr_region(host: &str) -> Option<Region> {
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let region = rest
        .strip_suffix(".amazonaws.com")
        .or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?;
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    is_account.then(|| region.parse().ok())?
}

/// What an image of a layout is called there: as was said, or as the only one is.
pub(super) fn in_layout(layout: &OciLayout, name: Option<&str>) -> Result<String, PipelineError> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    let images = layout.images()?;
    match images.as_slice() {
        [(_, only)] => Ok(only.digest.to_string()),
        several => {
            let names: Vec<&str> = several.iter().filter_map(|(name, _)| name.as_deref()).collect();
            let folder = layout.folder().display();
            let what = if several.is_empty() {
                format!("there is no image in {folder}")
            } else {
                format!("{folder} holds {} images: {}", several.len(), names.join(", "))
            };
            let hint = names
                .first()
                .map(|name| format!("name one, such as `oci:{folder}:{name}`"));
            Err(PipelineError::Arguments { what, hint })
        }
    }
}

/// Where an image can be read, and what it is called there. An engine gives its images out in another way.
pub(super) async fn source(place: &Place) -> Result<(Arc<dyn BlobSource>, String), PipelineError> {
    match place {
        Place::Registry(image) => Ok((Arc::new(repository(image).await?), reference(image))),
        Place::Layout { folder, name } => {
            let layout = OciLayout::open(folder)?;
            let name = in_layout(&layout, name.as_deref())?;
            Ok((Arc::new(layout), name))
        }
        Place::Engine(name) => Err(PipelineError::Arguments {
            what: format!("the engine gives out {name} whole, or not at all"),
            hint: None,
        }),
    }
}

/// What there is where an image was not.
pub(super) fn others(place: &Place) -> Option<String> {
    let Place::Layout { folder, .. } = place else {
        return None;
    };
    let images = OciLayout::open(folder).and_then(|layout| layout.images()).ok()?;
    let names: Vec<String> = images.into_iter().filter_map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| format!("it holds {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_written_as_elsewhere() {
        let layout = |folder: &str, name: Option<&str>| Place::Layout {
            folder: folder.into(),
            name: name.map(str::to_owned),
        };
        let digest = Digest::of(b"x");
        for (text, place) in [
            ("oci:build", layout("build", None)),
            ("oci:build/blog:v7", layout("build/blog", Some("v7"))),
            ("oci:C:/build", layout("C:/build", None)),
            ("docker:nuages/blog:1", Place::Engine("nuages/blog:1".into())),
            ("ghcr.io/a/b:1", Place::Registry("ghcr.io/a/b:1".parse().unwrap())),
            (
                "docker://ghcr.io/a/b:1",
                Place::Registry("ghcr.io/a/b:1".parse().unwrap()),
            ),
        ] {
            assert_eq!(text.parse::<Place>().unwrap(), place, "{text}");
        }
        let by_digest = format!("oci:build@{digest}");
        assert_eq!(
            by_digest.parse::<Place>().unwrap(),
            layout("build", Some(digest.as_str()))
        );
        for bad in ["oci:", "oci:build:", "docker:", "docker:--rm", "UPPER", ""] {
            let error = bad.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("is no image"), "{error}");
        }
    }

    #[test]
    fn the_registry_of_an_account_is_known_by_its_name() {
        let region = |host: &str| ecr_region(host).map(|region| region.to_string());
        assert_eq!(
            region("123456789012.dkr.ecr.eu-west-1.amazonaws.com").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(
            region("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn").as_deref(),
            Some("cn-north-1")
        );
        for other in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "evil.dkr.ecr.eu-west-1.amazonaws.com",
            "ghcr.io",
        ] {
            assert_eq!(region(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(text in "(oci:|docker:|docker://)?[a-z0-9./:@-]{0,30}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            }
        }
    }
}
