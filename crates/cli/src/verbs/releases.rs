//! `nuages releases`: what is on record, whether or not the environment can be reached.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};
use nuages_releases::Release;

use super::unrecorded;
use crate::app::App;
use crate::screen;

pub(crate) async fn run(app: &App, env: &EnvName, all: bool, limit: usize) -> Result<Ending, PipelineError> {
    let (mut releases, mut serving, mut gone) = (Vec::new(), None, false);
    let records = app.records(env).await?;
    if let Some(store) = &records.store {
        releases = if all {
            store.releases_of_all_worlds(limit).await?
        } else {
            store.releases(limit).await?
        };
        serving = store.serving().await?.map(|release| release.id);
        gone = releases.is_empty() && !store.releases_of_all_worlds(1).await?.is_empty();
    }
    if releases.is_empty() {
        let before = gone.then_some("`nuages releases --all` lists what was deployed before");
        unrecorded::tell(app, env, &records, before).await;
        return Ok(Ending::Done);
    }
    if app.json() {
        for release in &releases {
            screen::record(release);
        }
        return Ok(Ending::Done);
    }
    let row = |release: &Release| {
        let mark = if Some(release.id) == serving { "→ " } else { "  " };
        [
            format!("{mark}{}", release.number),
            release.outcome.to_string() + if release.archived { ", archived" } else { "" },
            screen::time(release.created),
            release.created_by.clone(),
            commit(release, "+"),
            release.image_digest.short().to_owned(),
        ]
    };
    screen::table(
        ["  RELEASE", "OUTCOME", "MADE", "BY", "COMMIT", "IMAGE"],
        releases.iter().map(row),
    );
    if releases.iter().any(is_dirty) {
        screen::complain("+: the working tree differed from the commit");
    }
    Ok(Ending::Done)
}

fn is_dirty(release: &Release) -> bool {
    release.git.as_ref().is_some_and(|git| git.dirty)
}

/// The commit, as people say it: seven digits, and a mark where the tree differed.
pub(crate) fn commit(release: &Release, mark: &str) -> String {
    release.git.as_ref().map_or_else(String::new, |git| {
        let short: String = git.commit.chars().take(7).collect();
        if git.dirty { short + mark } else { short }
    })
}
