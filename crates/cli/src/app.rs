//! One run of the command: the reporter, the signals, the verb, the last words.
//!
//! Invariant: the reporter has shown everything before the last words are printed.

use std::future::Future;
use std::path::{Path, PathBuf};

use nuages_config::{ConfigError, Project};
use nuages_model::EnvName;
use nuages_pipeline::{Absent, Ending, Environment, OpenOptions, PipelineError, Records, Session, Ui, Unrecorded};
use nuages_saga::{Cancel, Events, Level, MessageLevel};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;

use crate::args::{Cli, Global, Interrupted, Verb, When};
use crate::report::{self, Barrier, Choice, Color, Surroundings};
use crate::{invocation, outcome, screen, signals, verbs};

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) global: Global,
    pub(crate) ui: Ui,
    shown: UnboundedSender<Barrier>,
}

/// Who says what an environment is.
enum Known {
    /// Its project.
    Project(Project),
    /// Its records alone.
    Store(PathBuf),
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
            ci: in_ci(),
            ..OpenOptions::new(env.clone())
        }
    }

    /// Opens an environment, starting its emulator where it has one.
    pub(crate) async fn open(&self, env: &EnvName) -> Result<Session, PipelineError> {
        Session::open(&self.project()?, &self.options(env), &self.ui).await
    }

    /// Opens an environment to which the working tree is to go: nothing is made for one that cannot be built.
    pub(crate) async fn open_to_build(&self, env: &EnvName) -> Result<Session, PipelineError> {
        let options = OpenOptions {
            builds: true,
            ..self.options(env)
        };
        Session::open(&self.project()?, &options, &self.ui).await
    }

    /// Opens an environment as it stands: an emulator that does not run is not started.
    pub(crate) async fn look(&self, env: &EnvName) -> Result<Session, PipelineError> {
        let options = OpenOptions {
            emulator: Absent::Told,
            ..self.options(env)
        };
        Session::open(&self.project()?, &options, &self.ui).await
    }

    /// Opens an environment that must be there: an emulator that was stopped is started, and none is made.
    pub(crate) async fn open_existing(&self, project: &Project, env: &EnvName) -> Result<Session, PipelineError> {
        let options = OpenOptions {
            emulator: Absent::Started,
            ..self.options(env)
        };
        Session::open(project, &options, &self.ui).await
    }

    /// Opens the environment whose run was interrupted, also away from its project. None where no run was.
    pub(crate) async fn interrupted(
        &self,
        env: &EnvName,
        deployment: Option<&str>,
    ) -> Result<Option<Environment>, PipelineError> {
        match self.known(env)? {
            Known::Project(project) => {
                let environment = self.open_existing(&project, env).await?.environment;
                if let Some(deployment) = deployment {
                    environment.expect(deployment).await?;
                }
                Ok(Some(environment))
            }
            Known::Store(store) => Environment::interrupted(&store, env, deployment, &self.ui).await,
        }
    }

    /// What is on record of an environment, also away from its project: neither AWS nor an emulator is asked.
    pub(crate) async fn records(&self, env: &EnvName) -> Result<Records, PipelineError> {
        match self.known(env)? {
            Known::Project(project) => Records::open(&project, &self.options(env), &self.ui).await,
            Known::Store(store) => Records::of_store(&store, env).await,
        }
    }

    /// What serves in an environment, whatever is on record of it; none where no project says what the environment is.
    pub(crate) async fn serving_now(&self, env: &EnvName) -> Option<Result<Vec<Unrecorded>, PipelineError>> {
        match self.known(env).ok()? {
            Known::Project(project) => Some(nuages_pipeline::serving_now(&project, &self.options(env), &self.ui).await),
            Known::Store(_) => None,
        }
    }

    /// Who says what an environment is: its project; else, for what needs nothing of a project, a store that is named.
    fn known(&self, env: &EnvName) -> Result<Known, PipelineError> {
        let project = self.project().and_then(|project| {
            project.environment(env)?;
            Ok(project)
        });
        let store = self.global.store.as_ref();
        match (project, store) {
            (Ok(project), _) => Ok(Known::Project(project)),
            // Whoever named a folder meant it.
            (Err(error @ PipelineError::Project(ConfigError::NotFound { .. })), _) if self.global.project.is_some() => {
                Err(error)
            }
            (Err(PipelineError::Project(ConfigError::NotFound { .. })), Some(store)) => {
                Ok(Known::Store(store.clone()))
            }
            (Err(error @ PipelineError::Project(ConfigError::NotFound { .. })), None) => Err(PipelineError::Arguments {
                what: error.to_string(),
                hint: Some(
                    "run this in the project's folder, or name it with `--project DIR`; `--store PATH`, with its file of \
                     records, does as well"
                        .to_owned(),
                ),
            }),
            // Half an edit keeps nobody from ending what the records have whole.
            (
                Err(error @ (PipelineError::Project(ConfigError::Invalid(_)) | PipelineError::Config(_))),
                Some(store),
            ) => {
                let text = format!("{error}: the file is left aside, and the records alone say what `{env}` is");
                self.ui.events.message(MessageLevel::Warning, text, None);
                Ok(Known::Store(store.clone()))
            }
            (Err(error), _) => Err(error),
        }
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

/// Whether a CI system runs this.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
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
    let means = cli.verb.interrupted();
    let listening = signals::listen(&cancel, &events, means);
    let app = App {
        global: cli.global,
        ui: Ui {
            events: events.clone(),
            cancel,
            pasteable: invocation::pasteable,
        },
        shown,
    };
    let working = boxed(dispatch(&app, cli.verb));
    let ended = if means == Interrupted::Ends {
        let asked = app.ui.cancel.clone();
        tokio::select! {
            ended = working => ended,
            () = asked.at_least(Level::Graceful) => Ok(Ending::Interrupted),
        }
    } else {
        working.await
    };
    let ending = match &ended {
        Ok(ending) => *ending,
        // What was cut off fails in its own words; the exit code says who ended it.
        Err(problem) if problem.ending() == Ending::Failed && app.ui.cancel.level() > Level::None => {
            Ending::Interrupted
        }
        Err(problem) => problem.ending(),
    };
    listening.abort();
    // The reporter ends when the last sender is gone.
    let _ = listening.await;
    drop((app, events));
    if let Ok(shown) = showing.await {
        screen::wrote(shown);
    }
    screen::show();
    if let Err(problem) = &ended {
        outcome::explain(problem, ending, choice);
    }
    outcome::complete(ending)
}

/// A verb's future is large; the stack of the first thread is not.
fn boxed<'a, T>(work: impl Future<Output = T> + 'a) -> std::pin::Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(work)
}

async fn dispatch(app: &App, verb: Verb) -> Result<Ending, PipelineError> {
    match verb {
        Verb::Init { dir } => verbs::init::run(app, dir),
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
        Verb::Resume { env, deployment } => verbs::resume::resume(app, &env.env, deployment.as_deref()).await,
        Verb::Abort { env, deployment } => verbs::resume::abort(app, &env.env, deployment.as_deref()).await,
        Verb::History {
            env,
            deployment,
            list,
            all,
            page,
            limit,
        } => {
            let which = verbs::history::Which {
                deployment,
                list,
                all,
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
        Verb::Image { verb } => verbs::images::run(app, verb).await,
        Verb::Infra { verb } => verbs::infra::run(app, verb).await,
        Verb::Doctor { env } => verbs::doctor::run(app, env.as_ref()).await,
    }
}
