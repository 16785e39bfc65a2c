//! Amazon ECR in the test's own process: its API and its registry, with the ways in which both are special.
//!
//! Invariant: what the API says is what the registry holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nuages_aws::AwsContext;
use serde_json::{Value, json};

use crate::aws::{ACCOUNT, REGION, as_if_real};
use crate::fake_registry::{Behaviour, FakeRegistry, Immutable};
use crate::http::{self, FakeServer, Received};

const PASSWORD: &str = "fake-ecr-password";

/// A running ECR.
#[derive(Debug)]
pub struct FakeEcr {
    api: FakeServer,
    registry: Arc<FakeRegistry>,
    repositories: Arc<Mutex<HashMap<String, Immutable>>>,
    logins: Arc<AtomicUsize>,
}

impl FakeEcr {
    /// Starts an ECR with one empty repository, whose tags never move.
    ///
    /// ```
    /// use nuages_testkit::fake_ecr::FakeEcr;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let ecr = FakeEcr::start("blog").await;
    /// assert_eq!(ecr.logins(), 0);
    /// # }
    /// ```
    pub async fn start(repository: &str) -> Self {
        Self::start_with(repository, Immutable::All).await
    }

    /// The same, with other rules about tags.
    pub async fn start_with(repository: &str, immutable: Immutable) -> Self {
        let behaviour = Behaviour {
            immutable: immutable.clone(),
            ..Behaviour::ecr("AWS", PASSWORD)
        };
        let registry = Arc::new(FakeRegistry::start(behaviour).await);
        let repositories = Arc::new(Mutex::new(HashMap::from([(repository.to_owned(), immutable)])));
        let logins = Arc::new(AtomicUsize::new(0));
        let (images, names, count) = (Arc::clone(&registry), Arc::clone(&repositories), Arc::clone(&logins));
        let api = FakeServer::start(move |request| {
            let answer = match http::operation(&request).as_deref() {
                Some("GetAuthorizationToken") => {
                    count.fetch_add(1, Ordering::Relaxed);
                    login(&images.host())
                }
                Some("DescribeRepositories") => describe_repositories(
                    &request,
                    &images.host(),
                    &names.lock().unwrap_or_else(PoisonError::into_inner),
                ),
                Some("DescribeImages") => describe_images(&request, &images),
                Some("BatchGetImage") => batch_get_image(&request, &images),
                Some("PutImage") => put_image(&request, &images),
                _ => refusal("UnknownOperationException", "this fake does not know the operation"),
            };
            async move { answer }
        })
        .await;
        Self {
            api,
            registry,
            repositories,
            logins,
        }
    }

    /// A context whose ECR this is.
    pub fn context(&self) -> AwsContext {
        as_if_real(&self.api.url())
    }

    /// Where its API listens, for a proxy before it.
    pub fn address(&self) -> std::net::SocketAddr {
        self.api.address()
    }

    /// The registry behind it.
    pub fn registry(&self) -> &FakeRegistry {
        &self.registry
    }

    /// Adds a repository.
    pub fn add_repository(&self, name: &str) {
        self.repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), Immutable::All);
    }

    /// So often did somebody log in.
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }
}

type Answer = ::http::Response<bytes::Bytes>;

fn login(host: &str) -> Answer {
    let token = aws_smithy_types::base64::encode(format!("AWS:{PASSWORD}"));
    // Twelve hours from now, as the service gives it: seconds with a fraction.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let ends = now.as_secs() + 12 * 60 * 60;
    let data = json!({ "authorizationToken": token, "expiresAt": ends, "proxyEndpoint": format!("http://{host}") });
    http::json(200, &json!({ "authorizationData": [data] }))
}

fn input(request: &Received) -> Value {
    serde_json::from_slice(request.body()).unwrap_or_default()
}

fn describe_repositories(request: &Received, host: &str, known: &HashMap<String, Immutable>) -> Answer {
    let asked = input(request);
    let names = asked["repositoryNames"].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        let Some(immutable) = known.get(name) else {
            let text = format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'");
            return refusal("RepositoryNotFoundException", &text);
        };
        let (mutability, filters) = match immutable {
            Immutable::None => ("MUTABLE", json!(null)),
            Immutable::All => ("IMMUTABLE", json!(null)),
            Immutable::AllBut(beginnings) => {
                let filter = |b: &String| json!({ "filterType": "WILDCARD", "filter": format!("{b}*") });
                ("IMMUTABLE_WITH_EXCLUSION", beginnings.iter().map(filter).collect())
            }
        };
        found.push(json!({
            "repositoryArn": format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"),
            "registryId": ACCOUNT,
            "repositoryName": name,
            "repositoryUri": format!("{host}/{name}"),
            "imageTagMutability": mutability,
            "imageTagMutabilityExclusionFilters": filters,
        }));
    }
    http::json(200, &json!({ "repositories": found }))
}

fn describe_images(request: &Received, registry: &FakeRegistry) -> Answer {
    let asked = input(request);
    let repository = asked["repositoryName"].as_str().unwrap_or_default();
    let id = &asked["imageIds"][0];
    let reference = id["imageDigest"]
        .as_str()
        .or(id["imageTag"].as_str())
        .unwrap_or_default();
    match registry.image(repository, reference) {
        Some((digest, tags, size)) => {
            let details = json!({
                "registryId": ACCOUNT, "repositoryName": repository, "imageDigest": digest, "imageTags": tags,
                "imageSizeInBytes": size,
            });
            http::json(200, &json!({ "imageDetails": [details] }))
        }
        None => refusal("ImageNotFoundException", "The image requested does not exist"),
    }
}

fn batch_get_image(request: &Received, registry: &FakeRegistry) -> Answer {
    let asked = input(request);
    let repository = asked["repositoryName"].as_str().unwrap_or_default();
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in asked["imageIds"].as_array().into_iter().flatten() {
        let reference = id["imageDigest"].as_str().or(id["imageTag"].as_str());
        match reference.and_then(|reference| registry.manifest(repository, reference)) {
            Some((digest, media_type, manifest)) => images.push(json!({
                "registryId": ACCOUNT, "repositoryName": repository, "imageManifestMediaType": media_type,
                "imageManifest": String::from_utf8_lossy(&manifest),
                "imageId": {"imageDigest": digest, "imageTag": id["imageTag"]},
            })),
            None => failures.push(json!({
                "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
            })),
        }
    }
    http::json(200, &json!({ "images": images, "failures": failures }))
}

fn put_image(request: &Received, registry: &FakeRegistry) -> Answer {
    let asked = input(request);
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let (repository, tag, manifest) = (text("repositoryName"), text("imageTag"), text("imageManifest"));
    if let Some(theirs) = registry.tag(repository, tag) {
        return if theirs.as_str() == text("imageDigest") {
            refusal(
                "ImageAlreadyExistsException",
                "Image with this digest and tag already exists",
            )
        } else {
            refusal("ImageTagAlreadyExistsException", "The tag is immutable")
        };
    }
    let digest = registry.add_manifest(repository, text("imageManifestMediaType"), manifest.as_bytes(), tag);
    if digest.as_str() != text("imageDigest") {
        return refusal("ImageDigestDoesNotMatchException", "The digest is another one");
    }
    let id = json!({ "imageDigest": digest, "imageTag": tag });
    http::json(
        200,
        &json!({ "image": { "registryId": ACCOUNT, "repositoryName": repository, "imageId": id } }),
    )
}

fn refusal(code: &str, message: &str) -> Answer {
    http::json(400, &json!({ "__type": code, "message": message }))
}
