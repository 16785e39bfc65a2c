//! Builds a Django project's image without a Dockerfile, and loads it into the engine:
//!
//! ```text
//! cargo run -p nuages-image --example django_image -- PROJECT REQUIREMENTS WSGI-MODULE [SETTINGS] [NAME=VALUE …]
//! docker run --rm -p 8000:8000 nuages-example:site
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use nuages_image::{Base, BlobStore, Context, Django, Engine, Ground, Packages, Requirements, Server};
use nuages_model::{Note, Progress};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(project), Some(requirements), Some(module)) = (words.next(), words.next(), words.next()) else {
        return Err("name a project, its requirements.txt and its WSGI module, such as blog.wsgi".into());
    };
    let mut django = Django::new(Server::Wsgi(module), 8000);
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => drop(django.env.insert(name.to_owned(), value.to_owned())),
            None => django.settings = Some(word),
        }
    }
    let progress = Progress::new(|note| match note {
        Note::Status { text } | Note::Line { text, .. } | Note::Warning { text } => println!("  {text}"),
        _ => {}
    });
    let (engine, cancel) = (Engine::connect().await?, CancellationToken::new());
    let cache = std::env::temp_dir().join("nuages-example");
    let store = BlobStore::open(cache.join("blobs"))?;
    let base = Base::of_engine(&engine, "python:3.13-slim", &store, &progress).await?;
    let contents = base.contents(&store, &progress).await?;
    let lock = Requirements::of_file(requirements.as_ref(), &base.platform())?;
    for run in ["first", "again"] {
        let begun = Instant::now();
        let packages = Packages::install(&lock, &contents, &store, &progress).await?;
        let installed = begun.elapsed();
        let context = Context::of_project(project.as_ref(), &[], &progress)?;
        let memory = cache.join("memory.json");
        let ground = Ground {
            base: &base,
            contents: &contents,
            packages,
            store: &store,
            memory: Some(&memory),
            engine: Some(&engine),
        };
        let site = django.recipe(&context, ground, &progress, &cancel).await?;
        let laid_out = begun.elapsed();
        let image = site.recipe.make(&store, &progress)?;
        println!(
            "{run}: {} after {:.0?} (packages {installed:.0?}, laid out {laid_out:.0?})",
            image.digest,
            begun.elapsed()
        );
        site.told.iter().for_each(|sentence| println!("  {sentence}"));
        if run == "again" {
            site.recipe
                .load(&store, &engine, "nuages-example:site", &progress, &cancel)
                .await?;
            println!("docker run --rm -p 8000:8000 nuages-example:site");
        }
        // What was written this very moment is read again.
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    }
    Ok(())
}
