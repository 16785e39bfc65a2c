//! Checks `.env` files and compares two of them, without showing a value.
//!
//! `cargo run -p nuages-secrets --example env_file -- .env [.env.other]`

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::path::Path;

use nuages_secrets::{EnvFile, diff};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<EnvFile> = std::env::args()
        .skip(1)
        .map(|path| EnvFile::read(Path::new(&path)))
        .collect::<Result<_, _>>()?;
    match files.as_slice() {
        [] => {
            let file = EnvFile::parse("export GREETING='hello, clouds' # a comment\n")?;
            println!("no file named; a line of one reads as {file:?}");
        }
        [file] => println!("{} variables, all readable", file.iter().count()),
        [one, two, ..] => print!("{}", diff(&one.values(), &two.values())),
    }
    Ok(())
}
