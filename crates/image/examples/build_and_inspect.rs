//! Builds a folder's Dockerfile and shows what came out:
//! `cargo run -p nuages-image --example build_and_inspect -- django-sample [STAGE]`

use nuages_image::{BuildRequest, Builder, CaBundle, Engine, build};
use nuages_model::{Note, Progress};
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, not the library")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let mut request = BuildRequest::new(words.next().unwrap_or_else(|| "django-sample".into()));
    request.target = words.next();
    request.ca_bundle = Some(CaBundle::Host);
    if std::env::var_os("CLASSIC").is_some() {
        request.builder = Builder::Classic;
    }
    let progress = Progress::new(|note| match note {
        Note::Line { text, .. } => println!("{text}"),
        Note::Warning { text } => println!("warning: {text}"),
        _ => {}
    });
    let built = match Engine::connect().await {
        Ok(engine) => build(&engine, &request, &progress, &CancellationToken::new()).await,
        Err(error) => Err(error),
    };
    match built {
        Ok(built) => println!("{built:#?}"),
        Err(error) => {
            eprintln!("{error}\n{}", error.tail().join("\n"));
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            std::process::exit(1);
        }
    }
}
