//! Prints the task that would probe or apply a project's migrations, and checks that it fits ECS's limit.
//!
//! `cargo run -p nuages-migrate --example migrate_here -- python manage.py`

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use nuages_migrate::{COMMAND_LIMIT, Manage, MigrationRun, Verb};
use nuages_model::ReleaseId;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut run = MigrationRun::new(ReleaseId::generate());
    if !command.is_empty() {
        run.manage = Manage::new(&command)?;
    }
    for verb in [Verb::Probe, Verb::Apply] {
        let task = run.task(verb)?;
        let size: usize = task.command.iter().map(String::len).sum();
        println!(
            "{}: {} …, {size} of {COMMAND_LIMIT} characters",
            task.key,
            task.command[..2].join(" ")
        );
    }
    Ok(())
}
