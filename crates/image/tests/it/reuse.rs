//! A machine that has nothing takes the layers of the image that was made last.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use nuages_image::{Base, BlobStore, OciLayout, Packages, Previous, Recipe, Requirements, Tree};
use nuages_model::{BlobSource, Descriptor, Digest, Progress, SourceError};
use tokio_util::sync::CancellationToken;

use crate::dependencies::{base, locks};

/// Counts what is read.
struct Counting(OciLayout, AtomicUsize);

#[async_trait]
impl BlobSource for Counting {
    async fn find_manifest(&self, reference: &str) -> Result<Option<(Descriptor, Bytes)>, SourceError> {
        self.0.find_manifest(reference).await
    }

    async fn fetch_blob(&self, descriptor: &Descriptor, path: &Path, progress: &Progress) -> Result<(), SourceError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.fetch_blob(descriptor, path, progress).await
    }
}

fn code(text: &str) -> Tree {
    let mut tree = Tree::new();
    tree.bytes("/app/views.py", text.to_owned(), false).unwrap();
    tree
}

fn latest(_: &Digest) -> Vec<String> {
    vec!["latest".to_owned()]
}

#[tokio::test]
async fn a_fresh_machine_fetches_no_wheel_for_dependencies_that_did_not_change() {
    let locks = locks("pipenv");
    let requirements = Requirements::of_file(&locks.path().join("main.txt"), "linux/amd64").unwrap();
    let contents = base();
    let key = requirements.key(&contents).unwrap();
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(folder.path().join("images")).unwrap();
    let on_base = || Recipe::on(Base::scratch("linux/amd64"));

    let first = BlobStore::open(folder.path().join("first")).unwrap();
    let packages = Packages::install(&requirements, &contents, &first, &quiet)
        .await
        .unwrap();
    let made = |text: &str| {
        on_base()
            .made_from(&key, packages.layers().unwrap())
            .layer("code", code(text))
    };
    let pushed = made("one")
        .push(&first, &layout, latest, &quiet, &cancel)
        .await
        .unwrap();

    let second = BlobStore::open(folder.path().join("second")).unwrap();
    let source = Arc::new(Counting(layout.clone(), AtomicUsize::new(0)));
    let reference = pushed.digest.to_string();
    let previous = Previous::read(Arc::clone(&source) as Arc<dyn BlobSource>, &reference, &second, &quiet)
        .await
        .unwrap()
        .unwrap();
    let layers = previous.find(&key).unwrap();
    assert_eq!(layers.len(), packages.layers().unwrap().len());
    let reused = |text: &str| on_base().reuse(layers.clone()).layer("code", code(text));
    let again = reused("one").make(&second, &quiet).unwrap();
    assert_eq!(again.digest, pushed.digest, "the same image");
    let changed = reused("two")
        .push(&second, &layout, latest, &quiet, &cancel)
        .await
        .unwrap();
    assert_eq!(changed.digest, made("two").make(&first, &quiet).unwrap().digest);
    assert_eq!(changed.sent, 2, "the code and the configuration");
    let read = || source.1.load(Ordering::SeqCst);
    assert_eq!(read(), 1, "the configuration");
    let fetched: Vec<_> = std::fs::read_dir(folder.path().join("second/packages"))
        .unwrap()
        .collect();
    assert_eq!(fetched.len(), 0, "neither uv nor a wheel");

    // Where they are not, they are read from where they are.
    let elsewhere = OciLayout::create(folder.path().join("elsewhere")).unwrap();
    let copied = reused("two")
        .push(&second, &elsewhere, latest, &quiet, &cancel)
        .await
        .unwrap();
    assert_eq!((copied.digest, copied.present), (changed.digest, 0));
    assert_eq!(read(), 1 + layers.len());

    // Another input finds nothing, and no more does an image whose layers are not all there.
    assert!(previous.find(&Digest::of(b"another lock")).is_none());
    let (_, manifest) = layout.find_manifest("latest").await.unwrap().unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["layers"][0].as_object_mut().unwrap().remove("annotations");
    let bytes = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    nuages_model::BlobSink::put_manifest(&layout, kind, bytes, "damaged")
        .await
        .unwrap();
    let damaged = Previous::read(source.clone(), "damaged", &second, &quiet)
        .await
        .unwrap()
        .unwrap();
    assert!(damaged.find(&key).is_none());
    assert!(
        Previous::read(source, "missing", &second, &quiet)
            .await
            .unwrap()
            .is_none()
    );
}
