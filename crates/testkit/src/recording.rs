//! What the tests ask of AWS, kept for a check against AWS's own models: emulators and fakes take what AWS refuses.
//!
//! Every client of [`crate::aws::sdk_config`] and of the fakes is [`recorded`]; a whole run of the binary goes through a
//! [`RecordingProxy`]. Under `cargo xtask test` the requests are written into the folder that [`FOLDER`] names, and
//! `fixtures/requests/check.py` reads them after the tests. What a run of the binary asked also says which permissions it
//! needs: [`needed`].
//!
//! Invariant: no credential and no secret's value is kept. Of the headers only what names the operation is taken, and a
//! secret is replaced by as many stars as it has characters, so that its length can still be checked.

mod call;
mod client;
mod needs;
mod proxy;
mod redact;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use call::Call;
pub use client::recorded;
pub use needs::{Needed, Whose, needed};
pub use proxy::RecordingProxy;

/// The environment variable with the folder that requests are written into; without it they are not.
pub const FOLDER: &str = "NUAGES_TEST_REQUESTS";

/// This process's file, and what stands in it: a request that is polled with is kept once.
struct Written {
    file: File,
    lines: HashSet<String>,
}

fn written() -> Option<&'static Mutex<Written>> {
    static WRITTEN: OnceLock<Option<Mutex<Written>>> = OnceLock::new();
    WRITTEN
        .get_or_init(|| {
            let folder = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty())?;
            std::fs::create_dir_all(&folder).expect("the folder of recorded requests can be made");
            let path = Path::new(&folder).join(format!("{}.jsonl", std::process::id()));
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(Mutex::new(Written {
                file: file.expect("recorded requests can be written"),
                lines: HashSet::new(),
            }))
        })
        .as_ref()
}

/// Writes down what a server of the tests was asked, by a program too.
pub(crate) fn note(request: &crate::http::Received) {
    let call = Call::read(
        request.method().as_str(),
        request.uri(),
        request.headers(),
        request.body(),
    );
    if let Some(call) = call.filter(|call| !call.is_registry()) {
        write(&call);
    }
}

/// Writes a call down, where the run of the tests asks for it.
fn write(call: &Call) {
    let Some(written) = written() else { return };
    let mut line = serde_json::to_value(call).expect("a call is JSON");
    line["test"] = test_name().into();
    let line = line.to_string();
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    if written.lines.insert(line.clone()) {
        // In one piece: a process that is killed leaves whole lines.
        written
            .file
            .write_all(format!("{line}\n").as_bytes())
            .expect("recorded requests can be written");
    }
}

/// The test that runs, where that can be known.
fn test_name() -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let mut arguments = std::env::args().skip(1);
    // nextest runs a process for each test, and names it there. libtest names the thread.
    let name = if std::env::args().any(|argument| argument == "--exact") {
        arguments.find(|argument| !argument.starts_with('-'))
    } else {
        std::thread::current().name().map(str::to_owned)
    };
    format!("{package} {}", name.unwrap_or_default()).trim().to_owned()
}
