//! `nuages logs`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, LogsOptions, PipelineError};
use serde_json::json;

use crate::app::App;
use crate::screen;

pub(crate) async fn run(
    app: &App,
    env: &EnvName,
    service: Option<String>,
    follow: bool,
    since: &str,
    one_off: bool,
    filter: Option<String>,
) -> Result<Ending, PipelineError> {
    let ago = nuages_config::duration::parse(since).ok_or_else(|| PipelineError::Arguments {
        what: format!("`{since}` is not a time"),
        hint: Some("for example --since 10m or --since 2h".into()),
    })?;
    // Nobody waits for an environment to be told of a slip of the pen.
    nuages_pipeline::logged_service(&app.project()?.environment(env)?, service.as_deref())?;
    let session = app.look(env).await?;
    let now = jiff::Timestamp::now().as_millisecond();
    let since_ms = now
        .saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
        .max(0);
    let options = LogsOptions {
        service,
        one_off,
        since_ms,
        pattern: filter,
        follow,
    };
    let json = app.json();
    app.settle().await;
    nuages_pipeline::logs(&session, &options, &app.ui, |line| {
        if json {
            screen::object(&json!({"v": 1, "at_ms": line.at_ms, "stream": line.stream, "text": line.text}));
        } else {
            screen::say(&format!("{}  {}", line.source(), line.text));
        }
        screen::show();
    })
    .await?;
    Ok(Ending::Done)
}
