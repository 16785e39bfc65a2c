//! The saga over simulated worlds.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails the test that called it")]

mod cancel;
mod crash;
mod forward;
mod history;
mod journal;
mod lease;
mod rivals;
mod sim;
mod undo;
