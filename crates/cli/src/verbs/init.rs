//! `nuages init`.

use std::path::Path;

use nuages_config::detect::Detected;
use nuages_pipeline::{Ending, PipelineError};

use crate::app::App;
use crate::screen;

pub(crate) fn run(app: &App, dir: &Path) -> Result<Ending, PipelineError> {
    let detected = Detected::look(dir)?;
    let written = detected.write()?;
    let path = written.display().to_string();
    if app.json() {
        screen::object(&serde_json::json!({"v": 1, "written": path}));
    } else {
        screen::complain(&format!("wrote {path}"));
        let advice = detected.advice();
        for line in &advice {
            screen::complain(&format!("  {line}"));
        }
        screen::complain(if advice.is_empty() {
            "next: `nuages deploy --env local`"
        } else {
            "next: see to the lines above, then `nuages deploy --env local`"
        });
    }
    Ok(Ending::Done)
}
