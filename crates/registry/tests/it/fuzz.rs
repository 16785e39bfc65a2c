//! Answers of Amazon ECR and of registries that make no sense, to whatever is asked.
//!
//! Invariant: nothing panics, no error shows a password or token, and what a tag names is whole. `NUAGES_FUZZ_CASES` says
//! how many pushes are tried.

use std::time::Duration;

use nuages_model::{Digest, Progress};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Ecr, Options, Registry, RegistryError};
use nuages_testkit::aws::impatient;
use nuages_testkit::fake_ecr::FakeEcr;
use nuages_testkit::faults::{Before, FaultProxy, Rules};
use nuages_testkit::fuzz::{Spoiled, everything_told, lives, spoil_answers};

use crate::{describe, manifest, send};

/// What `FakeEcr` gives.
const PASSWORD: &str = "fake-ecr-password";

fn told<T>(ended: Result<T, RegistryError>) -> Option<T> {
    let error = match ended {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let text = format!("{}{:?}", everything_told(&error), error.hint());
    assert!(!text.contains(PASSWORD), "{text}");
    None
}

async fn push_and_pull(at: &Spoiled) -> usize {
    let (ecr, rules) = (FakeEcr::start("blog").await, Rules::default());
    let api = FaultProxy::start_with(Before::Aws, ecr.address(), rules.clone()).await;
    let proxy = FaultProxy::start_with(Before::Registry, ecr.registry().address(), rules.clone()).await;
    spoil_answers(&rules, at);
    let client = Ecr::new(&impatient(&api.url(), Duration::from_secs(30)));
    told(client.login().await);
    told(client.describe_repository("blog").await);
    let options = Options {
        password_first: true,
        attempts: 2,
        first_pause: Duration::from_millis(1),
        ..Options::default()
    };
    let credentials = Credentials::password("AWS", PASSWORD);
    let registry = Registry::new(&proxy.address().to_string(), credentials, options).unwrap();
    told(registry.check().await);
    let repository = registry.repository("blog");
    for blob in [b"config".as_slice(), b"layer"] {
        told(send(&repository, blob).await);
    }
    let whole = manifest(b"config", &[b"layer"]);
    let digest = Digest::of(&whole);
    told(repository.push_manifest(OCI_MANIFEST, whole, "build-1").await);
    told(client.tag("blog", &digest, "r-1").await);
    told(client.image("blog", "r-1").await);
    told(client.describe_image("blog", digest.as_str()).await);
    told(repository.head_manifest("build-1").await);
    if let Some(read) = told(repository.manifest("build-1").await) {
        assert_eq!(read.digest, Digest::of(&read.content));
        told(read.blobs());
        told(read.children());
    }
    told(repository.tags().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer");
    if told(
        repository
            .pull_blob(&describe(b"layer"), &path, &Progress::none())
            .await,
    )
    .is_some()
    {
        assert_eq!(std::fs::read(path).unwrap(), b"layer");
    }
    assert_eq!(ecr.registry().inconsistencies(), Vec::<String>::new());
    for tag in ecr.registry().tags("blog") {
        assert_eq!(ecr.registry().tag("blog", &tag), Some(digest.clone()), "{tag}");
    }
    rules.calls().len()
}

#[test]
fn no_answer_makes_it_panic_or_show_a_password() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    lives("pushes", 128, 12, |at| runtime.block_on(push_and_pull(at)));
}
