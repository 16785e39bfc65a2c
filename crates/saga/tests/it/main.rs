//! The saga over simulated worlds.

mod cancel;
mod crash;
mod forward;
mod journal;
mod lease;
mod sim;
mod undo;
