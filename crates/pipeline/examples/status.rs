//! What serves in an environment, and what deploying the working tree would change:
//! `cargo run -p nuages-pipeline --example status -- DIR ENVIRONMENT`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use nuages_config::Project;
use nuages_pipeline::{Absent, OpenOptions, Session, Ui, plan, status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "django-sample".to_owned());
    let env = arguments.next().unwrap_or_else(|| "local".to_owned());
    let project = Project::open(Path::new(&dir))?;
    let options = OpenOptions {
        // Only a look: what does not run is not started.
        emulator: Absent::Told,
        ..OpenOptions::new(env.parse()?)
    };
    let ui = Ui::silent();
    let session = match Session::open(&project, &options, &ui).await {
        Ok(session) => session,
        Err(error) => return Err(format!("{error}; hint: {}", error.hint().unwrap_or_default()).into()),
    };
    let now = status(&session).await?;
    let mut out = std::io::stdout();
    match &now.serving {
        Some(release) => writeln!(out, "{} serves {}", release.number, release.image_reference)?,
        None => writeln!(out, "nothing serves")?,
    }
    for service in &now.services {
        writeln!(out, "  {}: {}", service.state.name, service.word())?;
    }
    let planned = plan(&session, &ui).await?;
    writeln!(out, "{}", planned.why.as_deref().unwrap_or("nothing would change"))?;
    Ok(())
}
