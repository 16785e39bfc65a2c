//! The local environment's database: what the emulator says of it, held against what the engine sees.
//!
//! Invariant: afterwards the container runs at the address that `DATABASE_URL` names, and the person knows what was
//! lost. Whoever stopped or removed it did so behind the emulator's back, which goes on calling it available.

use std::time::Duration;

use nuages_emulator::Engine;
use nuages_emulator::local::{LocalDatabase, LocalEmulator};
use nuages_infra::{Stack, StackSpec, UpOutcome};
use nuages_saga::{MessageLevel, TaskScope};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::session::{Session, local_settings};

/// How long a restarted emulator may take to start a database again, before it is taken for gone.
const RESPAWN: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(300);

/// What has to be done about a database, and what the person is told.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    None,
    Start,
    Remake(&'static str),
}

/// What follows from how the container stands, where the emulator has the database at this address.
fn remedy_for(found: &LocalDatabase, told: &str) -> Remedy {
    match found {
        LocalDatabase::Running { address: Some(address) } if address != told => {
            Remedy::Remake("the local database is at another address, and is made again with its data")
        }
        LocalDatabase::Running { .. } => Remedy::None,
        LocalDatabase::Stopped => Remedy::Start,
        LocalDatabase::Missing { data: true } => {
            Remedy::Remake("the local database's container was gone, and is made again with its data")
        }
        LocalDatabase::Missing { data: false } => {
            Remedy::Remake("the local database was gone, and is made again, empty")
        }
    }
}

/// Brings the database of an emulator that nuages runs back, where its container was stopped or removed. One that had to
/// be made again counts as moved: what runs has connections to one that is gone.
pub(crate) async fn revive(
    session: &Session,
    stack: &Stack,
    spec: &StackSpec,
    up: &mut UpOutcome,
    task: &TaskScope,
    stop: &CancellationToken,
) -> Result<(), PipelineError> {
    let (Some(_), Some(told), Some(database)) = (&session.emulator, &up.database_address, &up.outputs.database) else {
        return Ok(());
    };
    let engine = Engine::connect().await?;
    let settings = local_settings(&session.config)?;
    let mut found = LocalEmulator::database(&engine, &settings, &database.identifier).await?;
    if session.restarted() {
        // An emulator that was restarted answers before it has made its databases' containers again.
        let deadline = Instant::now() + RESPAWN;
        while !matches!(found, LocalDatabase::Running { .. }) && Instant::now() < deadline {
            task.progress()
                .status("waiting for the local database, which the emulator starts again");
            tokio::time::sleep(PAUSE).await;
            found = LocalEmulator::database(&engine, &settings, &database.identifier).await?;
        }
    }
    let mut remedy = remedy_for(&found, told);
    if remedy == Remedy::Start {
        task.progress().status("starting the local database, which was stopped");
        found = match LocalEmulator::start_database(&engine, &settings, &database.identifier).await {
            Ok(found) => found,
            Err(error) => {
                // Its port was taken meanwhile, say: a container of its own gets another one.
                tracing::debug!(%error, "the database's container does not start as it is");
                LocalDatabase::Missing { data: true }
            }
        };
        remedy = remedy_for(&found, told);
        if remedy == Remedy::None {
            let text = "the local database was stopped, and is started again";
            task.message(MessageLevel::Info, text, None);
        }
    }
    let Remedy::Remake(text) = remedy else {
        return Ok(());
    };
    task.message(MessageLevel::Warning, text, None);
    up.database_address = stack.remake_database(spec, &up.outputs, &task.progress(), stop).await?;
    up.database_moved = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_sees_decides() {
        let at = |address: &str| LocalDatabase::Running {
            address: Some(address.to_owned()),
        };
        assert_eq!(remedy_for(&at("172.18.0.3"), "172.18.0.3"), Remedy::None);
        assert_eq!(
            remedy_for(&LocalDatabase::Running { address: None }, "172.18.0.3"),
            Remedy::None
        );
        assert_eq!(remedy_for(&LocalDatabase::Stopped, "172.18.0.3"), Remedy::Start);
        let says = |found: LocalDatabase| match remedy_for(&found, "172.18.0.3") {
            Remedy::Remake(text) => text,
            other => panic!("{found:?} calls for {other:?}"),
        };
        assert!(says(at("172.18.0.9")).contains("another address"));
        assert!(says(LocalDatabase::Missing { data: true }).ends_with("with its data"));
        assert!(says(LocalDatabase::Missing { data: false }).ends_with("empty"));
    }
}
