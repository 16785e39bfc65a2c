//! From the engine to a registry and back into the engine: what was pushed is pulled by digest, and runs.

use std::process::Command;

use nuages_image::{BlobStore, BuildRequest, build, push};
use nuages_model::Progress;
use nuages_registry::{Credentials, Options, Registry};
use nuages_testkit::emulators::{self, unique_name};
use tokio_util::sync::CancellationToken;

use crate::{BASE, engine, project, remove_image};

#[tokio::test]
async fn what_was_pushed_runs_by_digest() {
    let engine = engine().await;
    let host = emulators::registry().await.registry_host();
    let name = unique_name("blog");
    let unique = format!("hello from {name}");
    let dockerfile = format!("FROM {BASE}\nCOPY hello /hello\nUSER 10001\nCMD [\"cat\", \"/hello\"]\n");
    let folder = project(&[("Dockerfile", &dockerfile), ("hello", &unique)]);
    let (progress, cancel) = (Progress::none(), CancellationToken::new());
    let built = build(&engine, &BuildRequest::new(folder.path()), &progress, &cancel)
        .await
        .unwrap();

    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let repository = Registry::new(&host, Credentials::Anonymous, Options::default())
        .unwrap()
        .repository(&name);
    let tags = |digest: &nuages_model::Digest| vec![format!("build-{}", digest.hex()), "latest".to_owned()];
    let pushed = push(
        &engine,
        built.image_id.as_str(),
        &store,
        &repository,
        tags,
        &progress,
        &cancel,
    )
    .await
    .unwrap();
    let again = push(
        &engine,
        built.image_id.as_str(),
        &store,
        &repository,
        tags,
        &progress,
        &cancel,
    )
    .await
    .unwrap();
    assert_eq!((again.digest, again.sent), (pushed.digest.clone(), 0));
    let mut tags = repository.tags().await.unwrap();
    tags.sort_unstable();
    assert_eq!(tags, [format!("build-{}", pushed.digest.hex()), "latest".to_owned()]);

    // The engine pulls what it does not have, and checks every digest on the way.
    remove_image(&engine, built.image_id.as_str()).await;
    let image = format!("{host}/{name}@{}", pushed.digest);
    let output = Command::new("docker")
        .args(["run", "--rm", &image])
        .output()
        .expect("the docker command runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, unique, "{}", String::from_utf8_lossy(&output.stderr));
    let pulled = nuages_image::inspect(&engine, &image).await.unwrap();
    assert_eq!(pulled.layers, built.config.layers);
    assert_eq!(pulled.user, "10001");
    remove_image(&engine, &image).await;
}
