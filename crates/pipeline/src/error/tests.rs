//! Exit codes and chains.

use super::*;

/// The rule that the README gives for exit codes 3 and 4, at its edges.
#[test]
fn what_is_written_wrongly_is_3_and_what_cannot_be_done_now_is_4() {
    let variable = || "MAIL_PASSWORD".to_owned();
    let arguments = |what: &str| PipelineError::Arguments {
        what: what.into(),
        hint: None,
    };
    for (error, code) in [
        (arguments("there is no release `v99`"), 3),
        (
            PipelineError::from(SecretsError::Invalid {
                variable: variable(),
                why: "it is empty".into(),
            }),
            3,
        ),
        (PipelineError::refused("v2 serves already", "choose another"), 4),
        (
            SecretsError::NotFound {
                variable: variable(),
                id: "nowhere/mail".into(),
            }
            .into(),
            4,
        ),
        (
            SecretsError::Deleted {
                variable: variable(),
                secret: "blog/mail".into(),
            }
            .into(),
            4,
        ),
        (AwsError::BadEndpoint { url: "x".into() }.into(), 3),
        (
            InfraError::Missing {
                stack: "nuages-blog-local".into(),
            }
            .into(),
            4,
        ),
        (ReleasesError::Foreign(PathBuf::from("notes.db")).into(), 4),
        (AwsError::NoRegion.into(), 4),
        (
            AwsError::NoProfile {
                profile: "work".into(),
                config: PathBuf::new(),
                credentials: PathBuf::new(),
                known: Vec::new(),
            }
            .into(),
            4,
        ),
        (SecretsError::Random.into(), 1),
    ] {
        assert_eq!(error.ending().code(), code, "{error}");
    }
}

#[test]
fn a_recorded_error_prints_as_a_chain() {
    let report = ErrorReport {
        message: "the task failed".into(),
        causes: vec!["exit code 1".into(), "relation exists".into()],
        hint: Some("look".into()),
    };
    let error = PipelineError::Undone {
        operation: "the deployment".into(),
        step: "migrate".into(),
        cause: report.into(),
        kept: vec!["migrate".into()],
    };
    let chain: Vec<String> = std::iter::successors(Some(&error as &dyn StdError), |e| (*e).source())
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        chain,
        [
            "the deployment failed at step `migrate` and was undone (`migrate` cannot be undone and stays applied)",
            "the task failed",
            "exit code 1",
            "relation exists"
        ]
    );
    assert_eq!(error.hint().as_deref(), Some("look"));
    assert_eq!(error.ending().code(), 1);
}

#[test]
fn what_was_cut_off_tells_what_serves() {
    let push = || ImageError::Cancelled {
        what: "push the image".into(),
    };
    let number = "v1".parse().unwrap();
    let report = PipelineError::from(push()).cut_off(Some(number), false).report();
    assert_eq!(report.message, "interrupted; v1 serves as before");
    assert_eq!(report.causes, ["failed to push the image: it was cancelled"]);
    assert!(report.hint.is_some());

    // Between two phases nothing was cut off, and before the first release nothing serves.
    let between = || PipelineError::Cancelled {
        serves: None,
        changed: false,
        cut_off: None,
    };
    let first = between().cut_off(None, false);
    assert_eq!(first.report().message, "interrupted; nothing that serves was changed");
    let later = between().cut_off(Some(number), false);
    assert_eq!((later.report().causes.len(), later.ending()), (0, Ending::Interrupted));
    let after = between().cut_off(Some(number), true);
    assert_eq!(after.to_string(), "interrupted; v1 serves, in a stack that was changed");

    // What the saga tells of itself is not told over.
    let undone = PipelineError::Interrupted {
        operation: "the deployment".into(),
        kept: Vec::new(),
    };
    let text = undone.to_string();
    assert_eq!(undone.cut_off(Some(number), true).to_string(), text);
}
