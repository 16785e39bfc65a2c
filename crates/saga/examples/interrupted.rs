//! A deployment whose process dies in the middle, and the one that finishes it.
//!
//! `cargo run -p nuages-saga --example interrupted`

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    ApplyError, Cancel, EventKind, Events, Holder, JournalStore, LeaseGuard, LeaseTiming, Level, Plan, Registry,
    Runner, StepContext, StepError, StepSpec, Typed, TypedCheck, TypedObservation, TypedStep, output,
};
use serde::Deserialize;
use serde_json::json;

/// What is deployed to: names and their values.
type Shelf = Arc<Mutex<BTreeMap<String, String>>>;

#[derive(Deserialize)]
struct Params {
    name: String,
    value: String,
}

/// Puts a value under a name.
struct Put {
    shelf: Shelf,
    params: Params,
}

impl Put {
    fn now(&self) -> Option<String> {
        self.shelf
            .lock()
            .expect("nobody panics while holding it")
            .get(&self.params.name)
            .cloned()
    }
}

#[async_trait::async_trait]
impl TypedStep for Put {
    type Before = Option<String>;
    type After = BTreeMap<String, String>;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<Self::Before, Self::After>, StepError> {
        let diff = vec![format!(
            "{}: {:?} -> {}",
            self.params.name,
            self.now(),
            self.params.value
        )];
        Ok(TypedCheck::Change {
            before: self.now(),
            diff,
        })
    }

    async fn apply(&self, cx: &StepContext, _: Self::Before) -> Result<Self::After, ApplyError> {
        let (name, value) = (self.params.name.clone(), self.params.value.clone());
        self.shelf
            .lock()
            .expect("nobody panics while holding it")
            .insert(name.clone(), value);
        cx.progress().status("put; waiting for it to be seen");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Ok([("name".to_owned(), name)].into())
    }

    async fn observe(&self, _: &StepContext, before: Self::Before) -> Result<TypedObservation<Self::After>, StepError> {
        Ok(match self.now() {
            Some(value) if value == self.params.value => {
                TypedObservation::Done([("name".to_owned(), self.params.name.clone())].into())
            }
            now if now == before => TypedObservation::NotDone,
            now => TypedObservation::Indeterminate {
                why: format!("it is {now:?}"),
            },
        })
    }

    async fn undo(&self, _: &StepContext, before: Self::Before, _: Option<Self::After>) -> Result<(), StepError> {
        let mut values = self.shelf.lock().expect("nobody panics while holding it");
        match before {
            Some(value) => values.insert(self.params.name.clone(), value),
            None => values.remove(&self.params.name),
        };
        Ok(())
    }

    fn reversal(&self) -> nuages_saga::Reversal {
        nuages_saga::Reversal::Undo
    }

    fn by_hand(&self, before: Self::Before, _: Option<Self::After>) -> Vec<String> {
        vec![format!("put back {before:?} under {}", self.params.name)]
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shelf = Shelf::default();
    let mut registry = Registry::new();
    let of = shelf.clone();
    registry.add("put", 1, move |params: Params| {
        Ok(Typed(Put {
            shelf: of.clone(),
            params,
        }))
    });

    let store = Arc::new(MemoryStore::new());
    let runner = Runner::new(registry, store.clone(), env!("CARGO_PKG_VERSION"));
    let events = Events::to(|event| {
        if let EventKind::TaskStarted { title, .. } = &event.kind {
            let _ = writeln!(std::io::stderr(), "{title}");
        }
    });

    let put = |id: &str, name: &str, value: serde_json::Value| -> Result<StepSpec, nuages_saga::IdError> {
        Ok(StepSpec::new(
            id.parse()?,
            "put",
            1,
            format!("Put {name}"),
            json!({"name": name, "value": value}),
        ))
    };
    let plan = Plan::new("deploy", "blog".parse()?, "local".parse()?, env!("CARGO_PKG_VERSION"))
        .stage("one", [put("first", "a", json!("hello"))?])
        .stage("two", [put("second", "b", output(&"first".parse()?, "/name"))?]);

    let scope = events.task("deploy", "Deploy");
    let plan = runner.plan(plan, &scope).await?;
    let lease = LeaseGuard::acquire(store.clone(), Holder::here("deploy"), LeaseTiming::default()).await?;
    let cancel = Cancel::new();
    let leaves = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        cancel.request(Level::Detach);
    };
    let (report, ()) = tokio::join!(runner.run(&plan, &lease, &scope, &cancel), leaves);
    lease.release().await;
    let mut out = std::io::stdout().lock();
    writeln!(out, "left as: {:?}", report?.outcome)?;

    let open = store.unfinished().await?.ok_or("nothing is open")?.deployment;
    let lease = LeaseGuard::acquire(store.clone(), Holder::here("resume"), LeaseTiming::default()).await?;
    let report = runner.resume(open, &lease, &scope, &Cancel::new()).await?;
    lease.release().await;
    scope.done("");
    writeln!(out, "then: {:?}", report.outcome)?;
    writeln!(
        out,
        "the shelf: {:?}",
        shelf.lock().expect("nobody panics while holding it")
    )?;
    Ok(())
}
