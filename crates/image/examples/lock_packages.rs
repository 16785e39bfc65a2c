//! What a project's folder says of its packages, as the list that an image is built of:
//! `cargo run -p nuages-image --example lock_packages -- django-sample`

use std::path::PathBuf;

use nuages_image::{BlobStore, Contents, Dependencies, Group, Libc, Pinning, Pins, Python};
use nuages_model::Progress;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program, not the library")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let project = PathBuf::from(std::env::args().nth(1).ok_or("which project?")?);
    // What Base::contents reads of python:3.13-slim.
    let base = Contents {
        libc: Some(Libc::Glibc(2, 41)),
        python: Some(Python {
            path: "/usr/local/bin/python3.13".into(),
            version: (3, 13),
        }),
        libraries: ["libc.so.6".to_owned()].into(),
    };
    let store = BlobStore::open(std::env::temp_dir().join("nuages-example"))?;
    let mut pins = Pins::read(&project.join("nuages.lock"), Pinning::here(false))?;
    let found = Dependencies::find(&project)?.ok_or("nothing there names packages")?;
    let quiet = Progress::none();
    let locked = found.lock(Group::Main, &base, "linux/amd64", &mut pins, &store, &quiet);
    let locked = match locked.await {
        Ok(locked) => locked,
        Err(error) => return Err(format!("{error}; {}", error.hint().unwrap_or_default()).into()),
    };
    println!("{}\n\n{}", found.told(), locked.requirements.text());
    for package in locked.first_party {
        println!("first-party: {} from {}", package.name, package.import_root.display());
    }
    if pins.write()? {
        println!("wrote nuages.lock");
    }
    Ok(())
}
