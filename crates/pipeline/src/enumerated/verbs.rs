//! What is run: the verbs themselves, from where a build would have left an image.
//!
//! Invariant: every verb takes the lease as it does for a person, and gives it back.

use std::collections::BTreeSet;
use std::time::Duration;

use nuages_saga::JournalStore as _;
use nuages_testkit::clock::on_paused_time;

use super::judge::{nothing_serves, serves, settle, told};
use super::town::{Image, Settings, Town};
use crate::deploy::{carry, ended};
use crate::ground::Ground;
use crate::steps::site::scripted::with_pages;
use crate::{DeployOptions, PipelineError, RollbackOptions, Session, Ui};

/// Nothing takes longer where all is well again: a migration may take six hours.
const LIMIT: Duration = Duration::from_hours(8);

/// A verb, and the world in which it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// The first deployment: the stack, the secrets and the services are made.
    First,
    /// A deployment over a release that serves, with a migration.
    Second,
    /// The same, of an image whose pages do not come: it is undone.
    Mute,
    /// The same, of an image whose tasks end at once: ECS goes back by itself.
    Crashing,
    /// A deployment with a change of what stands before the tasks: the path that the load balancer asks.
    Moving,
    /// Back from the second release.
    Rollback,
    /// `infra up` of an environment that is as it should be.
    Up,
    /// `infra up` after a service was added to nuages.toml.
    Grow,
    /// `infra down`.
    Down,
}

impl Verb {
    /// The release that serves before it.
    pub(super) const fn before(self) -> Option<Image> {
        match self {
            Self::First => None,
            Self::Rollback => Some(Image::Two),
            _ => Some(Image::One),
        }
    }

    /// The release that serves after it, where all is well.
    const fn after(self) -> Option<Image> {
        match self {
            Self::Second | Self::Moving => Some(Image::Two),
            Self::Down => None,
            _ => Some(Image::One),
        }
    }

    /// Whether it is undone even where nothing is wrong with any call.
    pub(super) const fn fails(self) -> bool {
        matches!(self, Self::Mute | Self::Crashing)
    }

    /// The services that serve before it and go on serving meanwhile. ECS takes a task for healthy that runs, where no
    /// load balancer asks it: of one that ends at once it has none left for a while.
    pub(super) const fn served(self) -> &'static [&'static str] {
        match self {
            Self::First | Self::Down => &[],
            Self::Crashing => &["web"],
            _ => &["web", "worker"],
        }
    }

    /// A connection with the settings that it is about.
    pub(super) async fn session(self, town: &Town) -> Session {
        match self {
            Self::Grow => town.session(Settings::Grown).await,
            Self::Moving => town.session(Settings::Moved).await,
            _ => town.session(Settings::Usual).await,
        }
    }

    pub(super) async fn run(self, session: &Session) -> Result<(), PipelineError> {
        let ui = Ui::silent();
        match self {
            Self::First => deploy(session, Image::One, &ui).await,
            Self::Second | Self::Moving => deploy(session, Image::Two, &ui).await,
            Self::Mute => deploy(session, Image::Mute, &ui).await,
            Self::Crashing => deploy(session, Image::Crashing, &ui).await,
            Self::Rollback => {
                let options = RollbackOptions {
                    code_only: true,
                    ..RollbackOptions::default()
                };
                crate::rollback(session, &options, &ui).await.map(drop)
            }
            Self::Up | Self::Grow => crate::infra_up(session, &BTreeSet::new(), &ui).await.map(drop),
            Self::Down => {
                let lease = session.lease("infra down").await?;
                let down = crate::down::down_in(session, &lease, &ui).await;
                lease.release().await;
                down.map(drop)
            }
        }
    }

    /// Whether the world is as it is to be after it.
    pub(super) async fn is_done(self, town: &Town, session: &Session) -> Result<(), String> {
        match self.after() {
            Some(image) => serves(town, session, image).await?,
            None => nothing_serves(town, session).await?,
        }
        let made = town.account.cloud().made();
        match (self, made) {
            (Self::Down, Some(_)) => Err("the stack still stands".to_owned()),
            (Self::Down, None) => Ok(()),
            (_, None) => Err("there is no stack".to_owned()),
            (Self::Grow, Some(made)) if !made.iter().any(|made| made.id == "/nuages/blog/staging/beat") => {
                Err("the stack did not grow".to_owned())
            }
            (Self::Moving, Some(_)) if town.asked_path().as_deref() != Some("/alive") => {
                Err("the stack did not change".to_owned())
            }
            (_, Some(_)) => Ok(()),
        }
    }

    /// Whether the world is as it was before it, as far as that must be after it failed.
    pub(super) async fn is_undone(self, town: &Town, session: &Session) -> Result<(), String> {
        match (self, self.before()) {
            // What is taken down is not built up again.
            (Self::Down, _) => Ok(()),
            (_, Some(image)) => serves(town, session, image).await,
            (_, None) => nothing_serves(town, session).await,
        }
    }
}

/// `deploy` without Docker: an image that was built and pushed.
pub(super) async fn deploy(session: &Session, image: Image, ui: &Ui) -> Result<(), PipelineError> {
    deploy_through(session, image, async || Ok(()), ui).await
}

/// The same, through a gate of its own.
pub(super) async fn deploy_through(
    session: &Session,
    image: Image,
    gate: impl AsyncFnOnce() -> Result<(), PipelineError>,
    ui: &Ui,
) -> Result<(), PipelineError> {
    let lease = session.lease("deploy").await?;
    let options = DeployOptions::default();
    let fingerprint = |_: &Ground| format!("of {image:?}");
    let gates = async |_: &Ground| gate().await.map(|()| Town::made(image));
    let mut changed = Vec::new();
    let deployed = carry(session, &options, &lease, fingerprint, gates, &mut changed, ui).await;
    lease.release().await;
    ended(session, deployed, &changed, ui).await.map(drop)
}

/// The worlds that verbs are run in, each made once.
#[derive(Debug)]
pub(super) struct Towns {
    after_one: Town,
    after_two: Town,
}

impl Towns {
    pub(super) fn new() -> Self {
        let after_one = after(Town::new, Verb::First);
        let after_two = after(|| after_one.apart(), Verb::Second);
        Self { after_one, after_two }
    }

    /// A world of one's own, as it is before this verb.
    pub(super) fn before(&self, verb: Verb) -> Town {
        match verb.before() {
            None => Town::new(),
            Some(Image::One) => self.after_one.apart(),
            Some(_) => self.after_two.apart(),
        }
    }
}

/// The world after a verb that went well.
pub(super) fn after(town: impl FnOnce() -> Town, verb: Verb) -> Town {
    on_paused_time(async {
        let town = town();
        let session = verb.session(&town).await;
        with_pages(town.pages(), verb.run(&session)).await.unwrap();
        drop(session);
        settle().await;
        town.apart()
    })
}

/// Where nothing is wrong any more: what is unfinished is resumed, and the verb ends as it does.
///
/// # Panics
/// When it does not.
pub(super) async fn recover(town: &Town, session: &Session, verb: Verb) {
    let again = async {
        if session.store.unfinished().await.unwrap().is_some() {
            let resumed = crate::resume(session, &Ui::silent()).await.map(drop);
            if let Err(error) = &resumed {
                assert!(
                    matches!(error, PipelineError::Undone { .. }),
                    "resumed: {}",
                    told(error)
                );
            }
            settle().await;
        }
        if verb.is_done(town, session).await.is_err() || verb.fails() {
            let ran = verb.run(session).await;
            assert_eq!(
                ran.is_err(),
                verb.fails(),
                "again: {:?}",
                ran.map_err(|error| told(&error))
            );
        }
    };
    let again = tokio::time::timeout(LIMIT, with_pages(town.pages(), again));
    again.await.expect("the second time it did not end");
    settle().await;
    verb.is_done(town, session).await.unwrap();
}
