//! Images on a real engine.

use nuages_emulator::images::{self, ImageSet, Outcome, Source};
use nuages_emulator::{EmulatorError, Engine};
use nuages_model::Progress;

#[tokio::test]
async fn what_is_there_is_left_alone() {
    let engine = Engine::connect().await.unwrap();
    let wanted = ImageSet::Only(vec!["python".into(), "ministack".into()]);
    images::ensure(&engine, &wanted, Source::Auto, &Progress::none())
        .await
        .unwrap();
    let before = engine.docker().inspect_image("python:3.13-slim").await.unwrap().id;
    let again = images::ensure(&engine, &wanted, Source::Auto, &Progress::none())
        .await
        .unwrap();
    let outcomes: Vec<_> = again
        .iter()
        .map(|report| (report.name.as_str(), report.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("python:3.13-slim", Outcome::Present),
            ("ministackorg/ministack:1.5.33-full", Outcome::Present)
        ]
    );
    assert_eq!(
        engine.docker().inspect_image("python:3.13-slim").await.unwrap().id,
        before
    );
}

#[tokio::test]
async fn an_unknown_image_is_refused_before_anything_is_made() {
    let engine = Engine::connect().await.unwrap();
    let wanted = ImageSet::Only(vec!["python".into(), "nginx".into()]);
    let error = images::ensure(&engine, &wanted, Source::Auto, &Progress::none())
        .await
        .unwrap_err();
    assert!(matches!(error, EmulatorError::UnknownImage { .. }), "{error:?}");
    assert!(
        error.to_string().contains("ministack"),
        "it names those that exist: {error}"
    );
}
