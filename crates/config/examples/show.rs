//! Prints what an environment of a `nuages.toml` comes to: `cargo run --example show -- DIR ENVIRONMENT`.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use nuages_config::{ConfigError, Project};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| ".".to_owned());
    let environment = arguments.next().unwrap_or_else(|| "local".to_owned());
    let project = match Project::find(Path::new(&dir)) {
        Err(ConfigError::Invalid(errors)) => {
            write!(std::io::stderr(), "{}", errors.render(100, false))?;
            return Err(errors.into());
        }
        other => other?,
    };
    let config = project.environment(&environment.parse()?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string_pretty(&config)?)?;
    writeln!(out, "fingerprint: {}", config.fingerprint())?;
    Ok(())
}
