//! ECS as it is used: against a scripted ECS with paused time, recorded answers, and an emulator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod definitions;
mod diagnoses;
mod emulated;
mod fixture;
mod fuzz;
mod preflight;
mod rollouts;
mod services;
mod tasks;
