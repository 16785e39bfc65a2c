//! Pushes an image of the engine to a registry, layer by layer:
//! `cargo run -p nuages-image --example push_to_registry -- python:3.13-slim localhost:5000 python v1`

use std::time::Instant;

use nuages_image::{BlobStore, Engine, push};
use nuages_model::Progress;
use nuages_registry::{Credentials, Options, Registry};
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program, not the library")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, host, name, tag] = words.as_slice() else {
        return Err("IMAGE HOST NAME TAG".into());
    };
    let began = Instant::now();
    let engine = Engine::connect().await?;
    println!(
        "{:>6} ms  connected to Docker {}",
        began.elapsed().as_millis(),
        engine.info().version
    );
    let store = BlobStore::open(std::env::temp_dir().join("nuages-example-blobs"))?;
    let repository = Registry::new(host, Credentials::Anonymous, Options::default())?.repository(name);
    let tags = |_: &nuages_model::Digest| vec![tag.clone()];
    let pushed = push(
        &engine,
        image,
        &store,
        &repository,
        tags,
        &Progress::none(),
        &CancellationToken::new(),
    )
    .await?;
    println!("{:>6} ms  {pushed:?}", began.elapsed().as_millis());
    Ok(())
}
