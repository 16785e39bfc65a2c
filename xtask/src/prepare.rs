//! What takes long on a new machine, done side by side: cargo compiles while container images are made.
//!
//! Invariant: where the images cannot be made, nobody is kept waiting for the build to hear of it.

use crate::board::{Board, Row};
use crate::tools::{self, Outcome};
use crate::{build, images};

/// Which of the two works that run side by side came to its end.
enum Ended {
    Build,
    Images { made: usize, words: String, row: Row },
}

/// Runs cargo, as `row`, while the images for a purpose are made.
pub(crate) fn beside_images(purpose: &str, board: &Board, row: Row, cargo: &[&str]) -> Outcome {
    let mut making = images::start(purpose)?;
    let mut building = build::start(cargo)?;
    let mut images_row = Some(board.row("Container images"));
    let (send, ended) = std::sync::mpsc::channel();
    let (mut build_failed, mut images_failed) = (None, None);
    std::thread::scope(|scope| -> Outcome {
        let row = &row;
        if let Some(stderr) = building.stderr.take() {
            let send = send.clone();
            scope.spawn(move || {
                build::follow(stderr, row);
                send.send(Ended::Build)
            });
        }
        if let (Some(stdout), Some(stderr), Some(row)) = (making.stdout.take(), making.stderr.take(), images_row.take())
        {
            scope.spawn(move || {
                let made = images::follow(stdout, &row);
                let words = images::words(stderr);
                send.send(Ended::Images { made, words, row })
            });
        }
        for end in ended.iter().take(2) {
            match end {
                Ended::Build => {
                    if !building.wait()?.success() {
                        build_failed = Some("cargo could not build it");
                        making.kill()?;
                    }
                }
                Ended::Images { made, words, row } => {
                    if making.wait()?.success() {
                        row.done(&images::summary(made));
                    } else {
                        row.failed("");
                        if build_failed.is_none() {
                            images_failed = Some(words);
                            building.kill()?;
                        }
                    }
                }
            }
        }
        Ok(())
    })?;
    if let Some(words) = images_failed {
        row.failed("stopped");
        tools::say(&words);
        return Err("the container images could not be made".into());
    }
    if let Some(why) = build_failed {
        row.failed("");
        return Err(why.into());
    }
    row.done("");
    Ok(())
}
