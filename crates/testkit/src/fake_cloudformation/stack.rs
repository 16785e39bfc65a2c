//! A stack, its events and its change sets.
//!
//! Invariant: a stack's status is that of its own newest event.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Debug, Clone, Default)]
pub(super) struct FakeStack {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) status: String,
    pub(super) template: Value,
    pub(super) tags: BTreeMap<String, String>,
    /// Newest last.
    pub(super) events: Vec<Event>,
    /// What will still happen, next first.
    pub(super) coming: Vec<Event>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) logical_id: String,
    pub(super) kind: String,
    pub(super) physical_id: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) token: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FakeChangeSet {
    pub(super) arn: String,
    pub(super) name: String,
    /// The client's token, by which a repeated request is told.
    pub(super) token: String,
    pub(super) stack_arn: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) template: Value,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) changes: Vec<[String; 4]>,
    pub(super) looks: usize,
}

/// Events between two looks.
const EVENTS: usize = 9;

impl FakeStack {
    /// Puts an event of the stack itself at the end, now.
    pub(super) fn happens(&mut self, status: &str, token: &str) {
        let event = stack_event(&self.name, &self.arn, status, token);
        self.take(event);
    }

    pub(super) fn take(&mut self, mut event: Event) {
        event.id = format!("{}-{}", self.events.len(), event.logical_id);
        if event.physical_id == self.arn {
            self.status.clone_from(&event.status);
        }
        self.events.push(event);
    }

    /// Some of what is to come, so that it comes in several parts.
    pub(super) fn step(&mut self) {
        let some = self.coming.len().min(EVENTS);
        let now: Vec<Event> = self.coming.drain(..some).collect();
        for event in now {
            self.take(event);
        }
    }
}

pub(super) fn stack_event(name: &str, arn: &str, status: &str, token: &str) -> Event {
    Event {
        logical_id: name.to_owned(),
        kind: "AWS::CloudFormation::Stack".to_owned(),
        physical_id: arn.to_owned(),
        status: status.to_owned(),
        token: token.to_owned(),
        ..Event::default()
    }
}
