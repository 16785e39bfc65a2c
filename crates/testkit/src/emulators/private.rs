//! A MiniStack for one test alone, which enforces IAM where the test asks for it.
//!
//! Invariant: it goes with the test: at [`Private::down`], or with the next sweep where the test was killed before.

use nuages_emulator::{EmulatorError, Engine};

use super::owners::Record;
use super::start::{self, Ask};
use super::{Endpoint, Kind, Owner, StartError, Sweep, state_folder, sweep, unique_name};

/// A running one.
#[derive(Debug)]
pub struct Private {
    /// Where it is.
    pub endpoint: Endpoint,
    record: std::path::PathBuf,
}

impl Private {
    /// Starts one for this account. With `enforces_iam` it checks signatures and identity policies; the credentials
    /// `test` stay root. What it does not check: the roles that are passed, and what CloudFormation and `/v2` do.
    ///
    /// Its databases are named by account, and so is what the tests share: give it an account, or names, of its own.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nuages_testkit::emulators::StartError> {
    /// let emulator = nuages_testkit::emulators::Private::start("123456789012", true).await?;
    /// println!("{}", emulator.endpoint.url);
    /// emulator.down().await?;
    /// # Ok(()) }
    /// ```
    pub async fn start(account: &str, enforces_iam: bool) -> Result<Self, StartError> {
        let engine = Engine::connect().await?;
        let name = unique_name("private");
        let record = state_folder().join(format!("{name}.json"));
        let ask = Ask {
            kind: Kind::MiniStack,
            account: account.to_owned(),
            enforces_iam,
        };
        let endpoint = start::anew(&engine, &ask, &Owner::of(std::process::id()), &record).await?;
        Ok(Self { endpoint, record })
    }

    /// Removes it and everything that it started.
    pub async fn down(self) -> Result<(), EmulatorError> {
        let engine = Engine::connect().await?;
        sweep(&engine, &Sweep::Record(self.record.clone())).await?;
        debug_assert!(
            Record::read(&self.record).is_none(),
            "the record goes with its emulator"
        );
        Ok(())
    }
}
