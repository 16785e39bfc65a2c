//! The stack's own verbs.
//!
//! Invariant: what holds data is destroyed only where the person named it.

use std::collections::BTreeSet;

use nuages_config::Config;
use nuages_infra::{ChangeSetPlan, CostEstimate, ResourceDrift, StackOutputs};
use nuages_saga::MessageLevel;
use nuages_secrets::Resolved;

use crate::error::PipelineError;
use crate::ground::{Existing, ground};
use crate::session::Session;
use crate::ui::{Ui, count};
use crate::{secrets, stack};

/// Says where else this environment serves, by the record: another `region` in nuages.toml makes another environment,
/// and leaves the one that was there as it is. An emulator of nuages' own has one region at a time.
pub(crate) async fn tell_other_regions(session: &Session, ui: &Ui) -> Result<(), PipelineError> {
    if session.emulator.is_some() {
        return Ok(());
    }
    let (env, here) = (&session.config.env.name, session.aws.region());
    for (region, number) in session.store.serving_elsewhere().await? {
        let text = format!(
            "`{env}` also serves in {region} ({number}, by the record): this is a second environment, in {here}, with a \
             database of its own"
        );
        let hint = format!(
            "to go on with the first, set `region = \"{region}\"` again; to be rid of it, do so and \
             `nuages infra down --env {env}`"
        );
        ui.events.message(MessageLevel::Warning, text, Some(hint));
    }
    Ok(())
}

/// Brings the environment's stack up, alone.
pub async fn infra_up(session: &Session, allow: &BTreeSet<String>, ui: &Ui) -> Result<StackOutputs, PipelineError> {
    let lease = session.lease("infra up").await?;
    let ground = ground(session, &lease, Existing::Changed, allow, ui).await;
    lease.release().await;
    Ok(ground?.outputs)
}

/// What bringing the stack up would change. Leaves nothing behind.
pub async fn infra_plan(session: &Session, ui: &Ui) -> Result<ChangeSetPlan, PipelineError> {
    tell_other_regions(session, ui).await?;
    let stop = ui.stop_token();
    let (made, domain) = tokio::try_join!(stack::bootstrapped(session), stack::domain(session))?;
    stack::tell_rights(session, made.as_ref(), ui);
    let stack = stack::managed(session, made.as_ref());
    let known = stack.describe().await?.filter(nuages_infra::StackState::stands);
    let known = known.map(|state| state.outputs()).transpose().unwrap_or(None);
    let url = secrets::database_url(known.as_ref()).cloned();
    let inspected = secrets::manager(session)
        .inspect(&secrets::wanted(session, url.as_ref()), &[])
        .await?;
    let resolved = secrets::as_resolved(inspected);
    let there = stack::There::of(session);
    let spec = stack::spec(&session.config, there, &resolved, url.as_ref(), made.as_ref(), domain);
    let task = ui.events.task("infra", "Environment");
    match stack.plan(&spec, &task.progress(), &stop).await {
        Ok(plan) => {
            if plan.none {
                task.unchanged("");
            } else {
                task.done(count(plan.changes.len(), "change"));
            }
            Ok(plan)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// What the environment costs a month, estimated from list prices. Nobody is asked. One in an emulator has no lines.
pub fn infra_cost(config: &Config) -> CostEstimate {
    // Secrets and their keys cost next to nothing and are left out of the estimate, so none need be resolved; a role, a
    // boundary and a certificate cost nothing.
    let there = stack::There::unasked(config);
    let priced = nuages_infra::cost(&stack::spec(config, there, &Resolved::default(), None, None, None));
    if config.emulator.is_none() {
        return priced;
    }
    CostEstimate {
        lines: Vec::new(),
        total: nuages_infra::Dollars::micros(0),
        assumptions: vec![format!(
            "`{}` runs in an emulator on this machine: it costs nothing",
            config.env.name
        )],
        ..priced
    }
}

/// What differs between the stack and what is there.
pub async fn infra_drift(session: &Session, ui: &Ui) -> Result<Vec<ResourceDrift>, PipelineError> {
    let stop = ui.stop_token();
    let task = ui.events.task("drift", "Compare the stack with what is there");
    match stack::stack(session).drift(&task.progress(), &stop).await {
        Ok(drift) => {
            if drift.is_empty() {
                task.unchanged("all as it was made");
            } else {
                task.done(format!("{} differ", drift.len()));
            }
            Ok(drift)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nuages_releases::EnvironmentKey;
    use nuages_saga::{EventKind, Events};

    use super::*;
    use crate::environment::lease;
    use crate::resume::tests::draft;
    use crate::stack::tests::{config, staging};

    /// The warnings, with their hints.
    async fn told(session: &Session) -> Vec<(String, Option<String>)> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        let ui = Ui {
            events: Events::to(move |event| {
                if let EventKind::Message { text, hint, .. } = event.kind {
                    listener.lock().unwrap().push((text, hint));
                }
            }),
            ..Ui::silent()
        };
        tell_other_regions(session, &ui).await.unwrap();
        let heard = heard.lock().unwrap();
        heard.clone()
    }

    #[tokio::test]
    async fn a_region_that_was_changed_is_told_as_a_second_environment() {
        let (session, _dir) = staging("http://127.0.0.1:1").await;
        assert_eq!(told(&session).await, []);
        let before = EnvironmentKey {
            region: "us-east-1".parse().unwrap(),
            ..session.store.key().clone()
        };
        let before = session.store.store().environment(before).await.unwrap();
        let held = lease(&before, "deploy").await.unwrap();
        before.record_serving(held.fence(), draft()).await.unwrap();
        let [(text, Some(hint))] = &told(&session).await[..] else {
            panic!("one warning with a hint")
        };
        assert!(text.contains("`staging` also serves in us-east-1 (v1"), "{text}");
        assert!(text.contains("second environment, in eu-west-1"), "{text}");
        assert!(
            hint.contains("region = \"us-east-1\"") && hint.contains("nuages infra down --env staging"),
            "{hint}"
        );
        before.set_serving(held.fence(), None).await.unwrap();
        assert_eq!(told(&session).await, [], "it was taken down");
        held.release().await;
    }

    #[test]
    fn an_estimate_asks_nobody_and_an_emulator_costs_nothing() {
        let nothing = nuages_infra::Dollars::micros(0);
        let (staging, _dir) = config("staging");
        assert!(infra_cost(&staging).total > nothing);
        let (local, _dir) = config("local");
        let free = infra_cost(&local);
        assert_eq!((free.total, free.lines.len()), (nothing, 0));
        assert_eq!(
            free.assumptions,
            ["`local` runs in an emulator on this machine: it costs nothing"]
        );
    }
}
