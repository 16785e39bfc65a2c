//! One run of the command: the reporter, the signals, the verb, the last words.
//!
//! Invariant: the reporter has shown everything before the last words are printed.

use std::future::Future;
use std::path::{Path, PathBuf};

use nuages_config::Project;
use nuages_model::EnvName;
use nuages_pipeline::{Ending, OpenOptions, PipelineError, Session, Ui};
use nuages_saga::{Cancel, Events, Level};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;

use crate::args::{Cli, Global, Verb, When};
use crate::report::{self, Barrier, Choice, Color, Surroundings};
use crate::{outcome, screen, signals, verbs};

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) global: Global,
    pub(crate) ui: Ui,
    shown: UnboundedSender<Barrier>,
}

impl App {
    /// The project: a named one, or the nearest.
    pub(crate) fn project(&self) -> Result<Project, PipelineError> {
        Ok(match &self.global.project {
            Some(dir) => Project::open(dir)?,
            None => Project::find(Path::new("."))?,
        })
    }

    /// How an environment is opened.
    pub(crate) fn options(&self, env: &EnvName) -> OpenOptions {
        OpenOptions {
            store: self.global.store.clone(),
            ci: std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1"),
            ..OpenOptions::new(env.clone())
        }
    }

    /// Opens an environment, starting its emulator where it has one.
    pub(crate) async fn open(&self, env: &EnvName) -> Result<Session, PipelineError> {
        Session::open(&self.project()?, &self.options(env), &self.ui).await
    }

    /// Opens an environment as it stands: an emulator that does not run is not started.
    pub(crate) async fn look(&self, env: &EnvName) -> Result<Session, PipelineError> {
        let options = OpenOptions {
            start_emulator: false,
            ..self.options(env)
        };
        Session::open(&self.project()?, &options, &self.ui).await
    }

    /// Waits until all that happened is on the screen, for a question or for lines that come while the verb runs.
    pub(crate) async fn settle(&self) {
        let (send, shown) = oneshot::channel();
        if self.shown.send(send).is_ok() {
            // A reporter that ended shows nothing more.
            let _ = shown.await;
        }
        screen::show();
    }

    /// Whether machines read the output.
    pub(crate) fn json(&self) -> bool {
        self.global.json
    }
}

/// Runs the command line.
pub(crate) async fn run(cli: Cli) -> Ending {
    let choice = Choice {
        json: cli.global.json,
        quiet: cli.global.quiet,
        color: match cli.global.color {
            When::Auto => Color::Auto,
            When::Always => Color::Always,
            When::Never => Color::Never,
        },
    };
    let (events, received) = Events::channel();
    let reporter = report::choose(
        choice,
        Surroundings::of_process(),
        Box::new(std::io::stdout()),
        Box::new(std::io::stderr()),
    );
    let (shown, barriers) = mpsc::unbounded_channel();
    let showing = tokio::spawn(report::drive(received, barriers, reporter));
    let cancel = Cancel::new();
    let listening = signals::listen(&cancel, &events);
    let app = App {
        global: cli.global,
        ui: Ui {
            events: events.clone(),
            cancel,
        },
        shown,
    };
    let ended = boxed(dispatch(&app, cli.verb)).await;
    // What was cut off fails in its own words; the exit code says who ended it.
    let stopped = app.ui.cancel.level() > Level::None;
    let as_asked = move |ending| {
        if stopped && ending == Ending::Failed {
            Ending::Interrupted
        } else {
            ending
        }
    };
    listening.abort();
    // The reporter ends when the last sender is gone.
    let _ = listening.await;
    drop(app);
    if choice.json {
        let ending = as_asked(ended.unwrap_or_else(|problem| outcome::explain(&problem, choice, &events)));
        drop(events);
        let _ = showing.await;
        screen::show();
        return ending;
    }
    drop(events);
    let _ = showing.await;
    screen::show();
    as_asked(ended.unwrap_or_else(|problem| outcome::explain(&problem, choice, &Events::none())))
}

/// A verb's future is large; the stack of the first thread is not.
fn boxed<'a, T>(work: impl Future<Output = T> + 'a) -> std::pin::Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(work)
}

async fn dispatch(app: &App, verb: Verb) -> Result<Ending, PipelineError> {
    match verb {
        Verb::Init { dir } => verbs::init::run(app, &dir.unwrap_or_else(|| PathBuf::from("."))),
        Verb::Deploy {
            env,
            skip_checks,
            again,
            force,
            allow_destroy,
        } => verbs::deploy::run(app, &env.env, skip_checks, again, force, allow_destroy).await,
        Verb::Plan { env } => verbs::plan::run(app, &env.env).await,
        Verb::Verify { env } => verbs::verify::run(app, &env.env).await,
        Verb::Check { env, again } => verbs::image::check(app, &env.env, again).await,
        Verb::Rollback { env, to, code_only } => verbs::rollback::run(app, &env.env, to, code_only).await,
        Verb::Resume { env } => verbs::resume::resume(app, &env.env).await,
        Verb::Abort { env } => verbs::resume::abort(app, &env.env).await,
        Verb::History {
            env,
            deployment,
            list,
            page,
            limit,
        } => {
            let which = verbs::history::Which {
                deployment,
                list,
                limit: usize::from(limit),
            };
            verbs::history::run(app, &env.env, which, page.as_deref()).await
        }
        Verb::Lease { verb } => verbs::lease::run(app, verb).await,
        Verb::Releases { env, all, limit } => verbs::releases::run(app, &env.env, all, usize::from(limit)).await,
        Verb::Status { env } => verbs::status::run(app, &env.env).await,
        Verb::Logs {
            env,
            service,
            follow,
            since,
            one_off,
            filter,
        } => verbs::logs::run(app, &env.env, service, follow, &since, one_off, filter).await,
        Verb::Build { env } => verbs::image::build(app, &env.env).await,
        Verb::Push { env } => verbs::image::push(app, &env.env).await,
        Verb::Infra { verb } => verbs::infra::run(app, verb).await,
        Verb::Doctor => verbs::doctor::run(app).await,
    }
}
