//! Builds with both builders.

use std::collections::BTreeMap;

use nuages_image::{BuildRequest, Builder, CaBundle, ImageError, RunSpec, build, run_once};
use nuages_model::{Note, Progress};
use tokio_util::sync::CancellationToken;

use crate::{BASE, Said, engine, project, remove_image, whole, write};

const BOTH: [Builder; 2] = [Builder::BuildKit, Builder::Classic];

fn request(folder: &tempfile::TempDir, builder: Builder) -> BuildRequest {
    BuildRequest {
        builder,
        ..BuildRequest::new(folder.path())
    }
}

#[tokio::test]
async fn both_builders_make_what_the_dockerfile_says() {
    let engine = engine().await;
    let dockerfile = format!(
        "ARG BASE={BASE}\nFROM ${{BASE}} AS first\nARG GREETING=none\nRUN echo said $GREETING > /said\n\
         FROM ${{BASE}}\nWORKDIR /app\nCOPY --from=first /said /said\nCOPY . .\nUSER 10001\nEXPOSE 8000\n\
         CMD [\"cat\", \"/said\", \"/app/blog/settings.py\"]\n"
    );
    let folder = project(&[
        ("Dockerfile", &dockerfile),
        ("blog/settings.py", "DEBUG = False\n"),
        ("x.log", "no"),
    ]);
    write(folder.path(), ".dockerignore", "*.log\n");
    for builder in BOTH {
        let said = Said::default();
        let mut request = request(&folder, builder);
        request.args = BTreeMap::from([("GREETING".into(), "hello".into())]);
        request.labels = BTreeMap::from([("team".into(), "blog".into())]);
        let built = build(&engine, &request, &said.progress(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(built.builder, builder);
        assert_eq!(built.config.command, ["cat", "/said", "/app/blog/settings.py"]);
        assert_eq!(
            (built.config.user.as_str(), built.config.working_dir.as_str()),
            ("10001", "/app")
        );
        assert_eq!(built.config.exposed_ports, ["8000/tcp"]);
        assert_eq!(built.config.labels.get("team").map(String::as_str), Some("blog"));
        assert!(!built.config.runs_as_root());
        assert!(said.lines().contains("COPY . ."), "{builder:?}: {}", said.lines());
        assert_eq!(said.warnings(), "");

        let run = RunSpec {
            image: built.image_id.to_string(),
            ..RunSpec::default()
        };
        let outcome = run_once(&engine, &run, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(
            (outcome.exit_code, outcome.tail),
            (0, vec!["said hello".into(), "DEBUG = False".into()])
        );
        let run = RunSpec {
            image: built.image_id.to_string(),
            command: vec!["ls".into()],
            ..RunSpec::default()
        };
        let outcome = run_once(&engine, &run, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(outcome.tail, ["Dockerfile", "blog"], "{builder:?}");

        // The same files again make the same image, whatever their times.
        let touched = std::fs::File::options()
            .append(true)
            .open(folder.path().join("blog/settings.py"))
            .unwrap();
        touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let again = build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(again.image_id, built.image_id, "{builder:?}");
        remove_image(&engine, built.image_id.as_str()).await;
    }
}

#[tokio::test]
async fn a_failed_step_is_named_with_its_last_lines() {
    let engine = engine().await;
    let dockerfile = format!(
        "FROM {BASE}\nRUN echo fine > /fine\nRUN echo first; echo no such package >&2; exit 3\nRUN echo never\n"
    );
    let folder = project(&[("deploy/Dockerfile", &dockerfile)]);
    for builder in BOTH {
        let mut request = request(&folder, builder);
        request.dockerfile = "deploy/Dockerfile".into();
        let error = build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap_err();
        let ImageError::Build {
            dockerfile,
            step,
            message,
            tail,
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(dockerfile, "deploy/Dockerfile");
        assert!(step.contains("RUN echo first"), "{builder:?}: {step}");
        assert!(message.contains('3'), "{builder:?}: {message}");
        assert!(!message.contains("rpc error"), "{message}");
        let tail = tail.join("\n");
        assert!(
            tail.contains("first") && tail.contains("no such package"),
            "{builder:?}: {tail}"
        );
        assert!(!tail.contains("never"), "{tail}");
    }
}

#[tokio::test]
async fn what_python_says_of_a_failed_step_is_its_cause() {
    let engine = engine().await;
    let dockerfile = format!("FROM {BASE}\nWORKDIR /app\nCOPY . .\nRUN python -c 'import settings'\n");
    let folder = project(&[
        ("Dockerfile", &dockerfile),
        ("settings.py", "DEBUG = False\nHOSTS = [\n"),
    ]);
    for builder in BOTH {
        let request = request(&folder, builder);
        let error = build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(
                "Python cannot read the code: SyntaxError: '[' was never closed (/app/settings.py, line 2) ("
            ),
            "{builder:?}: {text}"
        );
        assert_eq!(error.hint().as_deref(), Some("correct it and run this again"));
    }
    write(
        folder.path(),
        "settings.py",
        "import os\nKEY = os.environ['SECRET_KEY']\n",
    );
    let request = BuildRequest::new(folder.path());
    let error = build(&engine, &request, &Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the variable `SECRET_KEY` is missing"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("throw-away value"));
}

#[tokio::test]
async fn a_missing_base_says_what_to_do() {
    let engine = engine().await;
    let folder = project(&[("Dockerfile", "FROM nuages.invalid/no/such:image\n")]);
    for builder in BOTH {
        let error = build(
            &engine,
            &request(&folder, builder),
            &Progress::none(),
            &CancellationToken::new(),
        )
        .await
        .unwrap_err();
        assert!(
            whole(&error).contains("nuages.invalid"),
            "{builder:?}: {}",
            whole(&error)
        );
        assert!(
            error.hint().unwrap().contains("docker images"),
            "{builder:?}: {:?}",
            error.hint()
        );
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_the_engine_sees_it() {
    let engine = engine().await;
    let refused = async |folder: &tempfile::TempDir, target: Option<&str>| {
        let request = BuildRequest {
            target: target.map(str::to_owned),
            ..BuildRequest::new(folder.path())
        };
        build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap_err()
    };
    let error = refused(&project(&[]), None).await;
    assert!(
        matches!(error, ImageError::NoDockerfile { .. }) && error.hint().is_some(),
        "{error}"
    );

    let error = refused(
        &project(&[("Dockerfile", "FROM a AS one\nFROM a AS two\n")]),
        Some("test"),
    )
    .await;
    assert_eq!(error.hint().as_deref(), Some("the stages are: one, two"));

    let error = refused(
        &project(&[("Dockerfile", "FROM a\n"), (".dockerignore", "a\n[\n")]),
        None,
    )
    .await;
    assert!(error.to_string().contains("line 2"), "{error}");

    let gone = tempfile::tempdir().unwrap().path().join("gone");
    let request = BuildRequest::new(gone);
    let error = build(&engine, &request, &Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::NoDockerfile { .. }), "{error}");
}

#[tokio::test]
async fn the_engine_refuses_what_is_no_dockerfile() {
    let engine = engine().await;
    let folder = project(&[("Dockerfile", "FROM scratch\nBAKE a cake\n")]);
    for builder in BOTH {
        let error = build(
            &engine,
            &request(&folder, builder),
            &Progress::none(),
            &CancellationToken::new(),
        )
        .await
        .unwrap_err();
        assert!(
            error.to_string().to_uppercase().contains("BAKE"),
            "{builder:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_cancelled_build_ends() {
    let engine = engine().await;
    let marker = format!("{}", std::process::id());
    let folder = project(&[("Dockerfile", &format!("FROM {BASE}\nRUN echo {marker} && sleep 600\n"))]);
    for builder in BOTH {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        // As soon as the step runs.
        let progress = Progress::new(move |note| {
            if let Note::Line { text, .. } | Note::Status { text } = note
                && text.contains("sleep 600")
            {
                stop.cancel();
            }
        });
        let error = build(&engine, &request(&folder, builder), &progress, &cancel)
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::Cancelled { .. }), "{builder:?}: {error}");
    }
}

#[tokio::test]
async fn certificates_reach_the_build_and_stay_out_of_the_image() {
    let engine = engine().await;
    let dockerfile = format!(
        "FROM {BASE} AS deps\nARG NUAGES_CA_BUNDLE=\"\"\nRUN echo \"$NUAGES_CA_BUNDLE\" | base64 -d | grep -c CERT > /count\n\
         FROM {BASE}\nCOPY --from=deps /count /count\nCMD [\"cat\", \"/count\"]\n"
    );
    let pem = "-----BEGIN CERTIFICATE-----\nQUJDREVGR0g=\n-----END CERTIFICATE-----\n";
    let folder = project(&[("Dockerfile", &dockerfile)]);
    let other = project(&[("ca.pem", pem)]);
    for builder in BOTH {
        let mut request = request(&folder, builder);
        request.ca_bundle = Some(CaBundle::File(other.path().join("ca.pem")));
        let built = build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        let run = RunSpec {
            image: built.image_id.to_string(),
            ..RunSpec::default()
        };
        let outcome = run_once(&engine, &run, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(outcome.tail, ["2"], "{builder:?}");
        let history = engine.docker().image_history(built.image_id.as_str()).await.unwrap();
        let history = format!("{history:?}");
        assert!(!history.contains("NUAGES_CA_BUNDLE"), "{builder:?}: {history}");
        remove_image(&engine, built.image_id.as_str()).await;
    }
}

#[tokio::test]
async fn a_dockerfile_may_stand_outside_or_be_ignored() {
    let engine = engine().await;
    let outside = project(&[(
        "Dockerfile.prod",
        &format!("FROM {BASE}\nCOPY a /a\nCMD [\"cat\", \"/a\"]\n"),
    )]);
    let folder = project(&[("a", "content"), ("Dockerfile", &format!("FROM {BASE}\nCOPY a /a\n"))]);
    write(folder.path(), ".dockerignore", "Dockerfile\n");
    for builder in BOTH {
        for dockerfile in [outside.path().join("Dockerfile.prod"), "Dockerfile".into()] {
            let mut request = request(&folder, builder);
            request.dockerfile = dockerfile;
            let built = build(&engine, &request, &Progress::none(), &CancellationToken::new())
                .await
                .unwrap();
            remove_image(&engine, built.image_id.as_str()).await;
        }
    }
}

#[tokio::test]
async fn a_command_in_shell_form_is_told() {
    let engine = engine().await;
    let folder = project(&[("Dockerfile", &format!("FROM {BASE}\nCMD gunicorn blog.wsgi\n"))]);
    let said = Said::default();
    let built = build(
        &engine,
        &BuildRequest::new(folder.path()),
        &said.progress(),
        &CancellationToken::new(),
    )
    .await
    .unwrap();
    assert!(
        said.warnings().contains(r#"CMD ["gunicorn","blog.wsgi"]"#),
        "{}",
        said.warnings()
    );
    remove_image(&engine, built.image_id.as_str()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn links_stay_links_and_odd_files_are_passed_over() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let engine = engine().await;
    let list = "import os\nfor d, ds, fs in os.walk('/ctx'):\n  for n in sorted(ds + fs):\n    p = os.path.join(d, n)\n    \
                s = os.lstat(p)\n    print(p, oct(s.st_mode), s.st_uid, os.readlink(p) if os.path.islink(p) else '')\n";
    let folder = project(&[
        (
            "Dockerfile",
            &format!("FROM {BASE}\nCOPY . /ctx\nCMD [\"python3\", \"/ctx/list.py\"]\n"),
        ),
        ("list.py", list),
    ]);
    write(folder.path(), ".dockerignore", "Dockerfile\n.dockerignore\n");
    write(folder.path(), "run.sh", "#!/bin/sh\n");
    write(folder.path(), "private", "x");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("run.sh", 0o700);
    mode("private", 0o600);
    symlink("/etc/passwd", folder.path().join("out")).unwrap();
    symlink("loop", folder.path().join("loop")).unwrap();
    let long = format!("deep/{}/{}", "d".repeat(120), "f".repeat(120));
    write(folder.path(), &long, "x");
    write(folder.path(), "café/naïve.txt", "x");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    for builder in BOTH {
        let said = Said::default();
        let request = request(&folder, builder);
        let built = build(&engine, &request, &said.progress(), &CancellationToken::new())
            .await
            .unwrap();
        assert!(said.warnings().contains("socket"), "{}", said.warnings());
        let run = RunSpec {
            image: built.image_id.to_string(),
            ..RunSpec::default()
        };
        let outcome = run_once(&engine, &run, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap();
        let mut lines = outcome.tail.clone();
        lines.retain(|line| !line.contains(".nuages.Dockerfile"));
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "/ctx/café 0o40755 0 ".to_owned(),
                "/ctx/café/naïve.txt 0o100644 0 ".to_owned(),
                "/ctx/deep 0o40755 0 ".to_owned(),
                format!("/ctx/deep/{} 0o40755 0 ", "d".repeat(120)),
                format!("/ctx/{long} 0o100644 0 "),
                "/ctx/list.py 0o100644 0 ".to_owned(),
                "/ctx/loop 0o120777 0 loop".to_owned(),
                "/ctx/out 0o120777 0 /etc/passwd".to_owned(),
                "/ctx/private 0o100644 0 ".to_owned(),
                "/ctx/run.sh 0o100755 0 ".to_owned(),
            ],
            "{builder:?}"
        );
        remove_image(&engine, built.image_id.as_str()).await;
    }
}

#[tokio::test]
async fn images_are_forgotten_by_label_and_name() {
    let engine = engine().await;
    let name = format!("nuages-forget-{}", std::process::id());
    let label = format!("dev.nuages.test={name}");
    let folder = project(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let tagged = async |tag: &str, labels: &[(&str, &str)]| {
        let request = BuildRequest {
            tag: Some(format!("{name}:{tag}")),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..BuildRequest::new(folder.path())
        };
        build(&engine, &request, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap()
    };
    let ours = [("dev.nuages.test", name.as_str())];
    tagged("one", &ours).await;
    let kept = tagged("kept", &ours).await;
    let strangers = tagged("strangers", &[]).await;
    let unneeded = |image: &str| image == format!("{name}:one") || image == format!("{name}:strangers");
    assert_eq!(nuages_image::forget(&engine, &label, unneeded).await.unwrap(), 1);
    assert!(nuages_image::inspect(&engine, &format!("{name}:one")).await.is_err());
    for image in [&kept, &strangers] {
        nuages_image::inspect(&engine, image.image_id.as_str()).await.unwrap();
    }
    assert_eq!(nuages_image::forget(&engine, &label, |_| true).await.unwrap(), 1);
    assert_eq!(nuages_image::forget(&engine, &label, |_| true).await.unwrap(), 0);
    remove_image(&engine, &format!("{name}:strangers")).await;
}
