//! A local AWS for a folder: `up` starts it or finds it again, `down` takes it away, anything else looks.
//!
//! Run with `cargo run -p nuages-emulator --example local -- up .`

use std::path::Path;

use nuages_emulator::Engine;
use nuages_emulator::images::{self, ImageSet, Source};
use nuages_emulator::local::{LocalEmulator, LocalSettings};
use nuages_model::{Note, Progress};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it found")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let progress = Progress::new(|note| {
        if let Note::Status { text } | Note::Warning { text } = note {
            println!("… {text}");
        }
    });
    let engine = Engine::connect().await?;
    let settings = LocalSettings::new("example", Path::new(&folder))?;
    match verb.as_str() {
        "up" => {
            images::ensure(&engine, &ImageSet::Local, Source::Auto, &progress).await?;
            let running = LocalEmulator::ensure(&engine, &settings, &progress).await?;
            println!(
                "{} for account {}: {:?}",
                running.endpoint, running.account, running.found
            );
        }
        "down" => {
            let removed = LocalEmulator::down(&engine, &settings, &progress).await?;
            println!("removed {removed:?}");
        }
        _ => println!("{:?}", LocalEmulator::status(&engine, &settings).await?),
    }
    Ok(())
}
