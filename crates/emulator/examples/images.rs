//! Lists the images that nuages needs and says which of them this machine's engine has.
//!
//! Run with `cargo run -p nuages-emulator --example images`.

use nuages_emulator::Engine;
use nuages_emulator::images::{IMAGES, is_present};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it found")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::connect().await?;
    println!("Docker Engine {} at {}", engine.version(), engine.host());
    for image in &IMAGES {
        let state = if is_present(&engine, image).await? {
            "present"
        } else {
            "absent"
        };
        println!("{:<40} {state}  {}", image.tag, &image.hash()[..12]);
    }
    Ok(())
}
