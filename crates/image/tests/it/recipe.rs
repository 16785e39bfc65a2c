//! Images that are put together without an engine: others read them, the engine pulls and runs them.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use nuages_image::{Base, BlobStore, ImageError, Libc, OciLayout, Recipe, Runtime, Tree};
use nuages_model::{BlobSource as _, Digest, Progress};
use nuages_registry::{Credentials, Options, Registry};
use nuages_testkit::emulators::{self, unique_name};
use tokio_util::sync::CancellationToken;

use crate::{BASE, engine, project, remove_image, whole};

fn latest(_: &Digest) -> Vec<String> {
    vec!["latest".to_owned()]
}

/// A program, its data, and a link to it.
fn greeting(text: &str) -> Tree {
    let mut tree = Tree::new();
    let program = "import sys\nprint(open('/srv/greeting').read() + sys.argv[1])\n";
    tree.bytes("/srv/greet.py", program, true).unwrap();
    tree.bytes("/srv/texts/greeting", text.to_owned(), false).unwrap();
    tree.link("/srv/greeting", "texts/greeting").unwrap();
    tree
}

fn greets() -> Runtime {
    Runtime {
        entrypoint: Some(vec!["python".into(), "/srv/greet.py".into()]),
        command: Some(vec![", world".into()]),
        user: Some("10001:10001".into()),
        env: [("GREETING".to_owned(), "warm".to_owned())].into(),
        ..Runtime::default()
    }
}

#[tokio::test]
async fn a_layer_on_a_base_runs_in_the_engine() {
    let engine = engine().await;
    let host = emulators::registry().await.registry_host();
    let name = unique_name("greeting");
    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let repository = Registry::new(&host, Credentials::Anonymous, Options::default())
        .unwrap()
        .repository(&name);

    let base = Base::of_engine(&engine, BASE, &store, &quiet).await.unwrap();
    let on_it = base.clone();
    // What it holds is what it says when it is asked.
    let contents = base.contents(&store, &quiet).await.unwrap();
    let asked = "import os,platform,sys; print(os.path.realpath(sys.executable), *platform.libc_ver())";
    let said = Command::new("docker")
        .args(["run", "--rm", BASE, "python3", "-c", asked])
        .output()
        .unwrap();
    let python = contents.python.as_ref().unwrap();
    let Some(Libc::Glibc(major, minor)) = contents.libc else {
        panic!("{contents:?}")
    };
    let told = format!("{} glibc {major}.{minor}", python.path);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), told);
    assert!(
        contents.libraries.contains("libc.so.6") && contents.libraries.contains("libssl.so.3"),
        "{contents:?}"
    );
    assert_eq!(on_it.contents(&store, &quiet).await.unwrap(), contents, "remembered");
    let unique = format!("hello from {name}");
    let recipe = Recipe::on(base).layer("greeting", greeting(&unique)).run_as(greets());
    let pushed = recipe.push(&store, &repository, latest, &quiet, &cancel).await.unwrap();
    let again = recipe.push(&store, &repository, latest, &quiet, &cancel).await.unwrap();
    assert_eq!((again.digest, again.sent), (pushed.digest.clone(), 0));

    let image = format!("{host}/{name}@{}", pushed.digest);
    let ran = Command::new("docker").args(["run", "--rm", &image]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        said.trim_end(),
        format!("{unique}, world"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let config = nuages_image::inspect(&engine, &image).await.unwrap();
    assert_eq!(
        (config.user.as_str(), config.platform.as_str()),
        ("10001:10001", on_it.platform().as_str())
    );
    remove_image(&engine, &image).await;

    // What stands in a registry is a base, too, and only what the far side lacks is read of it.
    let other = tempfile::tempdir().unwrap();
    let store = BlobStore::open(other.path()).unwrap();
    let source = Arc::new(repository.clone());
    let base = Base::read(source, pushed.digest.as_str(), "linux/amd64", &store, &quiet)
        .await
        .unwrap();
    let mut tree = Tree::new();
    tree.bytes("/srv/texts/greeting", "good evening", false).unwrap();
    let more = Recipe::on(base).layer("evening", tree);
    let second = more.push(&store, &repository, latest, &quiet, &cancel).await.unwrap();
    assert_eq!(second.sent, 2, "the layer and the configuration");
    assert_eq!(
        store.list().unwrap().len(),
        3,
        "and the configuration of the base: no layer of it was read"
    );
    // To a folder that has nothing all of it goes.
    let layout = OciLayout::create(other.path().join("images")).unwrap();
    let copied = more.push(&store, &layout, latest, &quiet, &cancel).await.unwrap();
    assert_eq!((copied.digest, copied.present), (second.digest.clone(), 0));
    let image = format!("{host}/{name}@{}", second.digest);
    let ran = Command::new("docker")
        .args(["run", "--rm", &image, "!"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim_end(), "good evening!");
    remove_image(&engine, &image).await;
}

#[tokio::test]
async fn an_image_goes_into_the_engine_and_into_a_file() {
    let engine = engine().await;
    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let name = format!("{}:1", unique_name("greeting"));
    let base = Base::of_engine(&engine, BASE, &store, &quiet).await.unwrap();
    let recipe = Recipe::on(base).layer("greeting", greeting("hello")).run_as(greets());
    let run = || Command::new("docker").args(["run", "--rm", &name]).output().unwrap();

    let loaded = recipe.load(&store, &engine, &name, &quiet, &cancel).await.unwrap();
    let ran = run();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "hello, world\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let config = nuages_image::inspect(&engine, &name).await.unwrap();
    let layers: Vec<Digest> = loaded.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    assert_eq!(config.layers, layers);
    remove_image(&engine, &name).await;

    let file = cache.path().join("image.tar");
    let saved = recipe.save(&store, &file, &name, &quiet).await.unwrap();
    assert_eq!(saved.digest, loaded.digest);
    let docker = Command::new("docker")
        .args(["load", "--quiet", "--input"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(docker.status.success(), "{}", String::from_utf8_lossy(&docker.stderr));
    assert_eq!(String::from_utf8_lossy(&run().stdout), "hello, world\n");
    remove_image(&engine, &name).await;
    // The same file is a layout, as every tool reads it.
    let unpacked = cache.path().join("unpacked");
    tar::Archive::new(fs::File::open(&file).unwrap())
        .unpack(&unpacked)
        .unwrap();
    let layout = OciLayout::open(&unpacked).unwrap();
    let base = Base::read(Arc::new(layout), "1", "linux/amd64", &store, &quiet)
        .await
        .unwrap();
    assert_eq!(base.digest(), Some(&saved.digest));
}

#[tokio::test]
async fn the_same_has_one_digest_wherever_it_is_made() {
    let digest = async |text: &str| {
        let folder = project(&[("site/index.html", text), ("site/css/site.css", "a{}")]);
        let store = BlobStore::open(folder.path().join("cache")).unwrap();
        let mut tree = Tree::new();
        tree.add(folder.path().join("site"), "/srv").unwrap();
        let recipe = Recipe::on(Base::scratch("linux/arm64")).layer("site", tree);
        let layout = OciLayout::create(folder.path().join("images")).unwrap();
        let (quiet, cancel) = (Progress::none(), CancellationToken::new());
        let pushed = recipe.push(&store, &layout, latest, &quiet, &cancel).await.unwrap();
        let again = Base::read(Arc::new(layout), "latest", "linux/arm64", &store, &quiet)
            .await
            .unwrap();
        assert_eq!(
            (again.digest(), again.platform().as_str()),
            (Some(&pushed.digest), "linux/arm64")
        );
        pushed.digest
    };
    let one = digest("<h1>one</h1>").await;
    assert_eq!(digest("<h1>one</h1>").await, one);
    assert_ne!(digest("<h1>two</h1>").await, one);
    insta::assert_snapshot!(one, @"sha256:88cc924fcdea75837e24c0575b2c45aef5650c6fad14a6531ce301bd5ae8aa30");
}

#[tokio::test]
async fn a_layer_that_is_neither_here_nor_there_is_made_again() {
    let folder = project(&[("site/index.html", "<h1>hello</h1>")]);
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    let file = fs::File::options()
        .append(true)
        .open(folder.path().join("site/index.html"))
        .unwrap();
    file.set_modified(old).unwrap();
    let store = BlobStore::open(folder.path().join("cache")).unwrap();
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let mut tree = Tree::new();
    tree.add(folder.path().join("site"), "/srv").unwrap();
    let recipe = Recipe::on(Base::scratch("linux/amd64")).layer("site", tree);
    let first = recipe.make(&store, &quiet).unwrap();
    store.prune(0).unwrap();
    let layout = OciLayout::create(folder.path().join("images")).unwrap();
    let pushed = recipe.push(&store, &layout, latest, &quiet, &cancel).await.unwrap();
    assert_eq!((pushed.digest, pushed.sent), (first.digest, 2));
}

#[tokio::test]
async fn what_is_no_base_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path().join("cache")).unwrap();
    let layout = OciLayout::create(folder.path().join("images")).unwrap();
    let quiet = Progress::none();
    let read = async |reference: &str, platform: &str| {
        let source = Arc::new(layout.clone());
        match Base::read(source, reference, platform, &store, &quiet).await {
            Ok(base) => panic!("{base:?}"),
            Err(error) => whole(&error),
        }
    };
    let recipe = Recipe::on(Base::scratch("linux/arm64"));
    recipe
        .push(&store, &layout, latest, &quiet, &CancellationToken::new())
        .await
        .unwrap();
    let put = async |tag: &str, media_type: &str, text: String| {
        nuages_model::BlobSink::put_manifest(&layout, media_type, text.into(), tag)
            .await
            .unwrap()
    };
    let (manifest, content) = layout.find_manifest("latest").await.unwrap().unwrap();
    let index = "application/vnd.oci.image.index.v1+json";
    let listed = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#,
        manifest.media_type, manifest.digest, manifest.size
    );
    put("several", index, listed).await;
    put("broken", &manifest.media_type, "{".into()).await;
    let more = String::from_utf8(content.to_vec()).unwrap();
    let more = more.replace(
        "\"layers\":[]",
        &format!(
            "\"layers\":[{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":1}}]",
            nuages_image::LAYER,
            Digest::of(b"x")
        ),
    );
    put("odd", &manifest.media_type, more).await;
    let said = [
        read("nothing", "linux/amd64").await,
        read("latest", "linux/amd64").await,
        read("several", "linux/amd64").await,
        read("broken", "linux/arm64").await,
        read("odd", "linux/arm64").await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    failed to build on the image nothing: there is no such image
    failed to build on the image latest: it is for linux/arm64, and linux/amd64 is wanted
    failed to build on the image several: it is for linux/arm64, and linux/amd64 is wanted
    failed to build on the image broken: its manifest cannot be read: EOF while parsing an object at line 1 column 1
    failed to build on the image odd: its manifest lists 1 layers, and its configuration 0
    ");
    Base::read(Arc::new(layout.clone()), "several", "linux/arm64/v8", &store, &quiet)
        .await
        .unwrap();
    let missing = ImageError::from(
        layout
            .fetch_blob(&manifest_of(b"nothing"), &folder.path().join("x"), &quiet)
            .await
            .unwrap_err(),
    );
    assert!(
        whole(&missing).contains("failed to read the blob"),
        "{}",
        whole(&missing)
    );
}

fn manifest_of(content: &[u8]) -> nuages_model::Descriptor {
    nuages_model::Descriptor {
        media_type: nuages_image::LAYER.into(),
        digest: Digest::of(content),
        size: content.len() as u64,
    }
}
