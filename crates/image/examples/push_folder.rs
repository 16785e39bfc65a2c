//! Puts a folder on an image of a registry and pushes both, without a Docker engine:
//! `cargo run -p nuages-image --example push_folder -- localhost:5000 python 3.13-slim public site latest`

use std::sync::Arc;

use nuages_image::{Base, BlobStore, Recipe, Tree};
use nuages_model::Progress;
use nuages_registry::{Credentials, Options, Registry};
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program, not the library")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [host, base, base_tag, folder, name, tag] = words.as_slice() else {
        return Err("HOST BASE BASE_TAG FOLDER NAME TAG".into());
    };
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let store = BlobStore::open(std::env::temp_dir().join("nuages-example-blobs"))?;
    let registry = Registry::new(host, Credentials::Anonymous, Options::default())?;
    let base = Base::read(
        Arc::new(registry.repository(base)),
        base_tag,
        "linux/amd64",
        &store,
        &quiet,
    )
    .await?;
    let mut files = Tree::new();
    files.add(folder, "/srv")?;
    let image = Recipe::on(base).layer(folder, files);
    let tags = |_: &nuages_model::Digest| vec![tag.clone()];
    let pushed = image
        .push(&store, &registry.repository(name), tags, &quiet, &cancel)
        .await?;
    println!("{host}/{name}@{}", pushed.digest);
    Ok(())
}
