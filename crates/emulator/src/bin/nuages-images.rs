//! Makes the container images that nuages needs, without waiting for the big binary to be built.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use nuages_emulator::images::{self, IMAGES, ImageSet, Outcome, Source};
use nuages_emulator::{EmulatorError, Engine};
use nuages_model::{Note, Progress};

/// Makes the container images that are missing: pulled where a registry can be reached, else built.
#[derive(Debug, Parser)]
#[command(name = "nuages-images", version)]
struct Arguments {
    /// Only these images, by folder (`ministack`) or full name (`postgres:17-alpine`).
    #[arg(long, num_args = 1.., value_name = "NAME", conflicts_with = "set")]
    only: Vec<String>,
    /// The images for this purpose: local, test or all.
    #[arg(long = "for", value_name = "SET", default_value = "local")]
    set: ImageSet,
    /// Where they may come from: auto, pull or build.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    from: Source,
    /// List the images, and which of them are there, and make none.
    #[arg(long)]
    list: bool,
    /// What to show of the work.
    #[arg(long, value_enum, default_value_t = Show::Steps)]
    show: Show,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Show {
    /// Each image's beginning and end.
    Steps,
    /// All that the builds print.
    All,
    /// Errors alone.
    Errors,
    /// For a program that draws: `now`, a tab and what happens; `done`, a tab and each image that was made.
    Events,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                say(&format!("  because {source}"));
                cause = source.source();
            }
            if let Some(hint) = error.hint() {
                say(&format!("hint: {hint}"));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), EmulatorError> {
    let set = if arguments.only.is_empty() {
        arguments.set
    } else {
        ImageSet::Only(arguments.only)
    };
    // A wrong name is said before an engine is looked for.
    set.images()?;
    let engine = Engine::connect().await?;
    if arguments.list {
        for image in &IMAGES {
            let there = if images::is_present(&engine, image).await? {
                "present"
            } else {
                "absent"
            };
            list(&format!("{}\t{}\t{there}", image.name, image.tag));
        }
        return Ok(());
    }
    let progress = match arguments.show {
        Show::Errors => Progress::none(),
        Show::Events => events(),
        Show::Steps => lines(false),
        Show::All => lines(true),
    };
    for report in images::ensure(&engine, &set, arguments.from, &progress).await? {
        let how = match report.outcome {
            Outcome::Present => "there",
            Outcome::Pulled => "pulled",
            Outcome::Built => "built",
        };
        let text = format!("{}  {how}  {:.1}s", report.name, report.elapsed.as_secs_f64());
        match arguments.show {
            Show::Events if report.outcome == Outcome::Present => {}
            Show::Events => list(&format!("done\t✔ {text}")),
            Show::Errors => {}
            Show::Steps | Show::All => say(&text),
        }
    }
    Ok(())
}

/// A line per step, with the time since the start; what builds print only where that is wanted. Bytes come too often.
fn lines(output: bool) -> Progress {
    let start = Instant::now();
    Progress::new(move |note| {
        let seconds = start.elapsed().as_secs();
        match note {
            Note::Line { source, text } if output => say(&format!("[{seconds:>4}s] {source}: {text}")),
            Note::Status { text } => say(&format!("[{seconds:>4}s] {text}")),
            Note::Warning { text } => say(&format!("[{seconds:>4}s] warning: {text}")),
            _ => {}
        }
    })
}

/// What happens, for a program that shows the last of it.
fn events() -> Progress {
    Progress::new(|note| match note {
        Note::Line { source, text } => list(&format!("now\t{source}: {text}")),
        Note::Status { text } | Note::Warning { text } => list(&format!("now\t{text}")),
        Note::Bytes { what, done, total } => {
            let of = total
                .map(|total| format!(" of {}", megabytes(total)))
                .unwrap_or_default();
            list(&format!("now\t{what}: {}{of}", megabytes(done)));
        }
        _ => {}
    })
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[expect(clippy::print_stderr, reason = "the program's own output")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the data that was asked for")]
fn list(text: &str) {
    println!("{text}");
}
