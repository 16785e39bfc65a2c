//! Stacks against a fake that has every state of CloudFormation's, and against an emulator.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, helpers included")]

mod bootstrap;
mod costs;
mod down;
mod fixture;
mod fuzz;
mod ministack;
mod roles;
mod template;
mod up;
mod zone;
