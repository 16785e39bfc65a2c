//! In which order a deployment changes what serves depends on.
//!
//! Invariant: what a gate refuses leaves the stack as it was; what changed of it before a release failed is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuages_saga::{EventKind, Events, JournalStore as _, Level};
use nuages_testkit::clock::on_paused_time;

use super::judge::{nothing_is_left, serves, settle, told};
use super::town::{Image, Settings, Town};
use super::verbs::{Verb, after, deploy, deploy_through};
use crate::steps::site::scripted::with_pages;
use crate::{Ending, PipelineError, Ui};

type Heard = Arc<Mutex<Vec<String>>>;

/// A listener, and the messages that it hears.
fn listening() -> (Ui, Heard) {
    let heard = Heard::default();
    let listener = Arc::clone(&heard);
    let events = Events::to(move |event| {
        if let EventKind::Message { text, .. } = event.kind {
            listener.lock().unwrap().push(text);
        }
    });
    let ui = Ui { events, ..Ui::silent() };
    (ui, heard)
}

/// What is said of a stack that was changed.
fn said(heard: &Heard) -> Vec<String> {
    let all = heard.lock().unwrap();
    all.iter().filter(|text| text.contains("stays so")).cloned().collect()
}

/// Where the last call of this operation stands among all.
fn last(town: &Town, operation: &str) -> usize {
    let calls = town.account.rules().calls();
    let found = calls.iter().rposition(|call| call.ends_with(operation));
    found.unwrap_or_else(|| panic!("{operation} was not asked for: {calls:?}"))
}

const EXECUTE: &str = ":ExecuteChangeSet";

#[test]
fn a_gate_that_refuses_leaves_the_stack_as_it_was() {
    let before = after(Town::new, Verb::First);
    for settings in [Settings::Moved, Settings::Trusted] {
        for stopped in [false, true] {
            let town = before.apart();
            on_paused_time(async {
                let session = town.session(settings).await;
                let (ui, heard) = listening();
                let gate = async || {
                    if stopped {
                        ui.cancel.request(Level::Graceful);
                    }
                    Err(PipelineError::Checks {
                        failed: vec!["tests".to_owned()],
                        without_tests: Vec::new(),
                        reports: Vec::new(),
                        tail: Vec::new(),
                    })
                };
                let refused = deploy_through(&session, Image::Two, gate, &ui).await.unwrap_err();
                let text = if stopped {
                    "interrupted; v1 serves as before"
                } else {
                    "the check `tests` did not pass: nothing was pushed"
                };
                assert!(refused.to_string().starts_with(text), "{}", told(&refused));
                assert!(said(&heard).is_empty());
                let calls = town.account.rules().calls();
                assert!(calls.iter().any(|call| call.ends_with(":CreateChangeSet")), "{calls:?}");
                assert!(!calls.iter().any(|call| call.ends_with(EXECUTE)), "{calls:?}");
                assert_eq!(town.asked_path().as_deref(), Some("/livez"));
                settle().await;
                serves(&town, &session, Image::One).await.unwrap();
                nothing_is_left(&town, &session).await;
            });
        }
    }
}

#[test]
fn what_stands_before_the_tasks_changes_when_nothing_but_the_rollout_is_left() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let session = town.session(Settings::Moved).await;
        let pages = town.pages();
        with_pages(pages, deploy(&session, Image::Two, &Ui::silent()))
            .await
            .unwrap();
        let executed = last(&town, EXECUTE);
        assert!(last(&town, ":RunTask") > executed, "the migration");
        let calls = town.account.rules().calls();
        let probe = calls.iter().position(|call| call.ends_with(":RunTask")).unwrap();
        let update = calls.iter().position(|call| call.ends_with(":UpdateService")).unwrap();
        assert!(probe < executed && executed < update, "{probe} {executed} {update}");
        assert_eq!(town.asked_path().as_deref(), Some("/alive"));
    });
}

#[test]
fn what_a_task_needs_changes_before_the_first_one_runs() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let session = town.session(Settings::Trusted).await;
        let gate = async || {
            assert!(!town.account.rules().calls().iter().any(|call| call.ends_with(EXECUTE)));
            Ok(())
        };
        let ui = Ui::silent();
        let deployed = deploy_through(&session, Image::Two, gate, &ui);
        with_pages(town.pages(), deployed).await.unwrap();
        let calls = town.account.rules().calls();
        let probe = calls.iter().position(|call| call.ends_with(":RunTask")).unwrap();
        assert!(last(&town, EXECUTE) < probe);
    });
}

#[test]
fn a_deployment_that_is_undone_tells_what_stays_of_the_stack() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let session = town.session(Settings::Moved).await;
        let (ui, heard) = listening();
        let undone = with_pages(town.pages(), deploy(&session, Image::Mute, &ui))
            .await
            .unwrap_err();
        assert!(matches!(undone, PipelineError::Undone { .. }), "{}", told(&undone));
        assert_eq!(
            said(&heard),
            ["the stack nuages-blog-staging was changed before that, and stays so: \
                 ~ AWS::ElasticLoadBalancingV2::TargetGroup TargetGroup (properties)"]
        );
        settle().await;
        serves(&town, &session, Image::One).await.unwrap();
    });
}

#[test]
fn a_stack_that_differs_is_changed_although_the_release_serves_already() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let session = town.session(Settings::Moved).await;
        let gate = async || panic!("nothing is built for what serves already");
        let ui = Ui::silent();
        let deployed = deploy_through(&session, Image::One, gate, &ui);
        with_pages(town.pages(), deployed).await.unwrap();
        assert_eq!(town.asked_path().as_deref(), Some("/alive"));
        serves(&town, &session, Image::One).await.unwrap();
    });
}

#[test]
fn a_run_from_which_the_environment_was_taken_begins_nothing() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let session = town.session(Settings::Usual).await;
        // Somebody breaks the lease while the image is built.
        let gate = async || {
            session.store.break_lease().await.unwrap();
            tokio::time::sleep(Duration::from_mins(2)).await;
            Ok(())
        };
        let taken = deploy_through(&session, Image::Two, gate, &Ui::silent())
            .await
            .unwrap_err();
        assert!(matches!(taken, PipelineError::Taken), "{}", told(&taken));
        assert_eq!(taken.ending(), Ending::Held);
        let calls = town.account.rules().calls();
        let begun = |call: &String| call.ends_with(":RunTask") || call.ends_with(":UpdateService");
        assert!(!calls.iter().any(begun), "{calls:?}");
        settle().await;
        serves(&town, &session, Image::One).await.unwrap();
    });
}

/// The new release is asked at a path that the old one never had.
#[test]
fn a_release_that_comes_back_is_asked_at_its_own_path() {
    let before = after(Town::new, Verb::First);
    on_paused_time(async {
        let town = before.apart();
        let mut session = town.session(Settings::Usual).await;
        let web = session
            .config
            .services
            .values_mut()
            .find_map(|service| service.health.as_mut());
        let ready = std::mem::replace(&mut web.unwrap().ready, "/never".into());
        let ui = Ui::silent();
        with_pages(town.pages(), deploy(&session, Image::Mute, &ui))
            .await
            .unwrap_err();
        let run = session.store.deployments(1).await.unwrap();
        let (stored, _) = session.store.load(run[0].deployment).await.unwrap().unwrap();
        let plan = stored.plan().unwrap();
        let asked = |step: &str| {
            let step = plan.steps().find(|one| one.id.as_str().starts_with(step)).unwrap();
            step.params.clone()
        };
        assert_eq!(asked("service/")["site"]["ready"], ready);
        assert_eq!(asked("smoke")["ready"], "/never");
    });
}
