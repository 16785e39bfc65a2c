//! Amazon ECR: a registry like any other, with a login of its own and rules about tags.
//!
//! Images are pushed under `build-DIGEST` and deployed by digest; a release that proved healthy gets the tag `r-ID`. Both
//! are tags that never move, so pushing or tagging the same image again is no error, and another image under the same tag
//! is one. The repository belongs to the environment's stack: here it is only looked at.
//!
//! Invariant: the registry's host is what AWS answered, never put together from account and region.

use std::time::{Duration, SystemTime};

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{ImageIdentifier, ImageTagMutability};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuages_aws::{AwsContext, error::describe};
use nuages_model::{Arn, Digest, ImageRef};
use tokio::sync::Mutex;

use crate::client::protocol;
use crate::{Credentials, Options, Registry, RegistryError, Repository};

/// A login is renewed this long before it ends: a push may take a while.
const MARGIN: Duration = Duration::from_mins(30);

/// Amazon ECR in one account and region.
///
/// ```no_run
/// use nuages_aws::{AwsContext, AwsSettings};
/// use nuages_registry::Ecr;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let ecr = Ecr::new(&AwsContext::connect(&AwsSettings::default()).await?);
/// let repository = ecr.open("blog-staging").await?;
/// println!("{:?}", repository.tags().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ecr {
    aws: AwsContext,
    pub(crate) client: Client,
    login: Mutex<Option<EcrLogin>>,
}

/// A login, good for about twelve hours.
#[derive(Debug, Clone)]
pub struct EcrLogin {
    /// The registry's host, as it is reached from here.
    pub host: String,
    /// User and password.
    pub credentials: Credentials,
    /// When it ends.
    pub ends: SystemTime,
    registry: Registry,
}

/// A repository, as ECR describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrRepository {
    /// Its ARN.
    pub arn: Arn,
    /// How its images are named, with the registry's host as it is reached from here.
    pub image: ImageRef,
    /// Which tags may move.
    pub mutability: TagMutability,
}

/// Which tags of a repository may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMutability {
    immutable: bool,
    exceptions: Vec<String>,
}

impl TagMutability {
    /// All tags are this way, but for those that match one of the wildcard filters (`*` is any text).
    pub fn new(immutable: bool, exceptions: Vec<String>) -> Self {
        Self { immutable, exceptions }
    }

    /// Whether this tag never moves.
    ///
    /// ```
    /// let rules = nuages_registry::TagMutability::new(true, vec!["dev-*".into()]);
    /// assert!(rules.is_immutable("build-1"));
    /// assert!(!rules.is_immutable("dev-1"));
    /// ```
    pub fn is_immutable(&self, tag: &str) -> bool {
        self.immutable != self.exceptions.iter().any(|filter| wildcard(filter, tag))
    }
}

fn wildcard(filter: &str, text: &str) -> bool {
    let mut parts = filter.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An image, as ECR describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrImage {
    /// Its digest.
    pub digest: Digest,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Its compressed size. Emulators say the manifest's.
    pub size: Option<u64>,
}

impl Ecr {
    /// ECR as this context reaches it. Nothing is asked yet.
    pub fn new(aws: &AwsContext) -> Self {
        Self {
            aws: aws.clone(),
            client: Client::new(aws.sdk()),
            login: Mutex::new(None),
        }
    }

    /// A login, kept until shortly before it ends.
    pub async fn login(&self) -> Result<EcrLogin, RegistryError> {
        let mut kept = self.login.lock().await;
        if let Some(login) = kept.as_ref().filter(|login| SystemTime::now() + MARGIN < login.ends) {
            return Ok(login.clone());
        }
        let what = "log in to Amazon ECR";
        let answer = self
            .client
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| RegistryError::Ecr {
                what: what.into(),
                source: describe("ecr:GetAuthorizationToken", &error),
            })?;
        let data = answer
            .authorization_data()
            .first()
            .ok_or_else(|| protocol(what, "it holds no token"))?;
        let token = data
            .authorization_token()
            .and_then(|token| STANDARD.decode(token).ok())
            .and_then(|token| String::from_utf8(token).ok())
            .ok_or_else(|| protocol(what, "its token is not base64"))?;
        let (user, password) = token
            .split_once(':')
            .ok_or_else(|| protocol(what, "its token holds no password"))?;
        let endpoint = data
            .proxy_endpoint()
            .ok_or_else(|| protocol(what, "it names no registry"))?;
        let host = self.aws.quirks().registry_host(host_of(endpoint));
        let credentials = Credentials::password(user, password);
        let options = Options {
            plain_http: self.aws.quirks().registry_is_plain_http(),
            password_first: true,
            ..Options::default()
        };
        let ends = data
            .expires_at()
            .and_then(|ends| SystemTime::try_from(*ends).ok())
            .unwrap_or_else(|| SystemTime::now() + Duration::from_hours(12));
        let registry = Registry::new(&host, credentials.clone(), options)?;
        let login = EcrLogin {
            host,
            credentials,
            ends,
            registry,
        };
        *kept = Some(login.clone());
        Ok(login)
    }

    /// Opens a repository to push to it.
    pub async fn open(&self, name: &str) -> Result<Repository, RegistryError> {
        Ok(self.login().await?.registry.repository(name))
    }

    /// Describes a repository; `None` if there is none of this name.
    pub async fn describe_repository(&self, name: &str) -> Result<Option<EcrRepository>, RegistryError> {
        let what = format!("describe the repository {name}");
        let answer = match self.client.describe_repositories().repository_names(name).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let source = describe("ecr:DescribeRepositories", &error);
                if source.is_code("RepositoryNotFoundException") {
                    return Ok(None);
                }
                return Err(RegistryError::Ecr { what, source });
            }
        };
        let Some(found) = answer.repositories().first() else {
            return Ok(None);
        };
        let arn = found.repository_arn().unwrap_or_default();
        let uri = found.repository_uri().unwrap_or_default();
        let (host, path) = uri
            .split_once('/')
            .ok_or_else(|| protocol(&what, "it has no address"))?;
        let image = ImageRef::new(&self.aws.quirks().registry_host(host), path)
            .map_err(|error| protocol(&what, error.to_string()))?;
        let exceptions = found
            .image_tag_mutability_exclusion_filters()
            .iter()
            .map(|filter| filter.filter().to_owned())
            .collect();
        let immutable = matches!(
            found.image_tag_mutability(),
            Some(ImageTagMutability::Immutable | ImageTagMutability::ImmutableWithExclusion)
        );
        Ok(Some(EcrRepository {
            arn: arn.parse().map_err(|_| protocol(&what, format!("`{arn}` is no ARN")))?,
            image,
            mutability: TagMutability::new(immutable, exceptions),
        }))
    }

    /// Describes the image that a tag or digest names; `None` if there is none.
    pub async fn describe_image(&self, repository: &str, reference: &str) -> Result<Option<EcrImage>, RegistryError> {
        let what = format!("describe the image {repository}:{reference}");
        let id = match reference.parse::<Digest>() {
            Ok(digest) => ImageIdentifier::builder().image_digest(digest.as_str()),
            Err(_) => ImageIdentifier::builder().image_tag(reference),
        };
        let asked = self
            .client
            .describe_images()
            .repository_name(repository)
            .image_ids(id.build());
        let answer = match asked.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let source = describe("ecr:DescribeImages", &error);
                if source.is_code("ImageNotFoundException") || source.is_code("RepositoryNotFoundException") {
                    return Ok(None);
                }
                return Err(RegistryError::Ecr { what, source });
            }
        };
        let Some(found) = answer.image_details().first() else {
            return Ok(None);
        };
        let digest = found.image_digest().unwrap_or_default();
        let mut tags = found.image_tags().to_vec();
        tags.sort_unstable();
        Ok(Some(EcrImage {
            digest: digest
                .parse()
                .map_err(|_| protocol(&what, format!("`{digest}` is no digest")))?,
            tags,
            size: found.image_size_in_bytes().and_then(|size| u64::try_from(size).ok()),
        }))
    }

    /// Whose registry it is, where its host is not known.
    pub(crate) fn place(&self) -> String {
        format!("of {} in {}", self.aws.identity().account, self.aws.region())
    }

    /// The tag of a push: `build-` and the digest, as far as a tag may be long.
    pub fn build_tag(digest: &Digest) -> String {
        format!("build-{}", digest.hex())
    }
}

fn host_of(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_are_wildcards() {
        for (filter, tag, matches) in [
            ("dev-*", "dev-1", true),
            ("dev-*", "adev-1", false),
            ("*-latest", "x-latest", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("*", "", true),
            ("latest", "latest", true),
            ("latest", "latest2", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(wildcard(filter, tag), matches, "{filter} {tag}");
        }
        let rules = TagMutability::new(false, vec!["r-*".into()]);
        assert!(rules.is_immutable("r-1") && !rules.is_immutable("x"));
    }

    #[test]
    fn the_host_is_what_was_answered() {
        assert_eq!(
            host_of("https://1.dkr.ecr.cn-north-1.amazonaws.com.cn"),
            "1.dkr.ecr.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(host_of("http://127.0.0.1:9/"), "127.0.0.1:9");
    }

    proptest! {
        #[test]
        fn a_build_tag_is_a_tag(content: Vec<u8>) {
            let image = ImageRef::new("localhost:1", "a").unwrap();
            prop_assert!(image.with_tag(&Ecr::build_tag(&Digest::of(&content))).is_ok());
        }
    }
}
