//! Definitions: found again, compared without noise, refused before a call.

use nuages_ecs::{ContainerHealth, PinnedImage, TaskDefinitionSpec, diff};
use nuages_model::{ImageRef, SecretVersion};
use nuages_testkit::clock::on_paused_time;
use proptest::prelude::*;

use crate::fixture::{ACCOUNT, container, definition, world};

#[tokio::test(start_paused = true)]
async fn an_equal_definition_is_found_again() {
    let world = world();
    let first = world.cluster.register(&definition("blog")).await.unwrap();
    let again = world.cluster.register(&definition("blog")).await.unwrap();
    assert!(first.new && !again.new);
    assert_eq!(first.arn, again.arn);
    let other = world.cluster.register(&definition("blog2")).await.unwrap();
    assert_ne!(first.arn, other.arn);
    // Back to the first content: the newest revision says something else, so it is registered once more.
    let back = world.cluster.register(&definition("blog")).await.unwrap();
    assert!(back.new);
    assert_eq!(back.content, first.content);
    assert_eq!(world.fake.count("RegisterTaskDefinition"), 3);
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_ecs_wants_it() {
    let world = world();
    let mut spec = definition("blog");
    let arn = format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:blog/db-AbCdEf");
    let secret = SecretVersion {
        arn: arn.parse().unwrap(),
        key: Some("url".into()),
        version_id: Some("v1".into()),
    };
    spec.containers[0].secrets.insert("DATABASE_URL".into(), secret);
    world.cluster.register(&spec).await.unwrap();
    let mut sent = world.fake.inputs("RegisterTaskDefinition").remove(0);
    sent["containerDefinitions"][0]["image"] = "[image]".into();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(sent) });
}

#[tokio::test(start_paused = true)]
async fn only_real_changes_show() {
    let world = world();
    assert!(
        !world.cluster.diff(&definition("blog")).await.unwrap().is_empty(),
        "all is new"
    );
    world.cluster.register(&definition("blog")).await.unwrap();
    let same = world.cluster.diff(&definition("blog")).await.unwrap();
    assert!(same.is_empty(), "{}", same.text);
    let mut changed = definition("blog");
    changed.memory = 1024;
    changed.containers[0].env.insert("DEBUG".into(), "0".into());
    let diff = world.cluster.diff(&changed).await.unwrap();
    let lines: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["+ containers.web.env.DEBUG: 0", "~ memory: 512 → 1024"]);
    insta::assert_snapshot!(diff.text);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_set_is_no_equality() {
    let world = world();
    world.cluster.register(&definition("blog")).await.unwrap();
    let live = world.cluster.definition("blog-web").await.unwrap().unwrap();
    let mut theirs = live.clone();
    theirs.container_definitions.as_mut().unwrap()[0].hostname = Some("blog".into());
    let diff = diff(Some(&theirs), &definition("blog"));
    let lines: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("- containers.web.other") && lines[0].contains("hostname"),
        "{}",
        lines[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_a_new_definition() {
    let secret = |version: &str| {
        let mut spec = definition("blog");
        let arn = format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:blog/key-AbCdEf");
        let version = SecretVersion {
            arn: arn.parse().unwrap(),
            key: None,
            version_id: Some(version.into()),
        };
        spec.containers[0].secrets.insert("KEY".into(), version);
        spec
    };
    let world = world();
    let first = world.cluster.register(&secret("v1")).await.unwrap();
    assert_eq!(world.cluster.register(&secret("v1")).await.unwrap().arn, first.arn);
    assert_ne!(world.cluster.register(&secret("v2")).await.unwrap().arn, first.arn);
}

#[test]
fn an_image_without_digest_is_no_type() {
    let tagged: ImageRef = "localhost:4566/blog:latest".parse().unwrap();
    let error = PinnedImage::try_from(tagged).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image `localhost:4566/blog:latest` is not pinned by a digest"
    );
}

type Change = fn(&mut TaskDefinitionSpec);

#[tokio::test(start_paused = true)]
async fn limits_are_told_before_a_call() {
    let world = world();
    let wrong: [(&str, Change); 9] = [
        ("Fargate has no size of cpu 256 with memory 4096", |s| s.memory = 4096),
        ("a stop timeout of 121 s", |s| s.containers[0].stop_timeout = 121),
        ("is not 1 to 255 letters", |s| s.family = "blog web".into()),
        ("no container is essential", |s| s.containers[0].essential = false),
        ("two containers are called", |s| {
            s.containers.push(s.containers[0].clone());
        }),
        ("two containers listen on port 8000", |s| {
            let mut second = container("side");
            second.name = "side".into();
            s.containers.push(second);
        }),
        ("a disk of 5 GiB", |s| s.ephemeral_storage = Some(5)),
        ("is both a plain variable and a secret", |s| {
            let arn = format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:x-AbCdEf");
            let secret = SecretVersion {
                arn: arn.parse().unwrap(),
                key: None,
                version_id: None,
            };
            s.containers[0].secrets.insert("DJANGO_SETTINGS_MODULE".into(), secret);
        }),
        ("its health check needs", |s| {
            s.containers[0].health = Some(ContainerHealth {
                command: vec!["curl".into()],
                interval: 30,
                timeout: 5,
                retries: 3,
                start_period: 0,
            });
        }),
    ];
    for (message, change) in wrong {
        let mut spec = definition("blog");
        change(&mut spec);
        let error = world.cluster.register(&spec).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(message), "{cause}");
    }
    assert!(world.fake.calls().is_empty());
}

fn specs() -> impl Strategy<Value = TaskDefinitionSpec> {
    let names = proptest::collection::btree_map("[A-Z]{1,6}", "[a-z ]{0,8}", 0..5);
    let sizes = prop_oneof![Just((256, 512)), Just((512, 2048)), Just((4096, 8192))];
    (
        names,
        sizes,
        "[a-z]{1,8}",
        proptest::collection::vec("[a-z-]{1,6}", 0..4),
        proptest::bool::ANY,
        0u16..=120,
    )
        .prop_map(|(env, (cpu, memory), image, command, flag, stop_timeout)| {
            let mut spec = definition(&image);
            (spec.cpu, spec.memory) = (cpu, memory);
            let mut side = container("side");
            (side.name, side.port, side.essential) = ("side".into(), None, flag);
            let web = &mut spec.containers[0];
            (web.env, web.command, web.read_only_root, web.stop_timeout) = (env, command, flag, stop_timeout);
            spec.containers.push(side);
            spec
        })
}

proptest! {
    #[test]
    fn registered_once(spec in specs()) {
        on_paused_time(async {
            let world = world();
            let first = world.cluster.register(&spec).await.unwrap();
            prop_assert!(first.new);
            // The order of containers is no content.
            let mut shuffled = spec.clone();
            shuffled.containers.reverse();
            prop_assert_eq!(spec.content(), shuffled.content());
            let again = world.cluster.register(&shuffled).await.unwrap();
            prop_assert_eq!(&first.arn, &again.arn);
            prop_assert!(!again.new);
            Ok(())
        })?;
    }

    #[test]
    fn equal_digest_is_equal_content(a in specs(), b in specs()) {
        let same = a.content() == b.content();
        let mut tagged = b.clone();
        tagged.tags.insert("more".into(), "tags".into());
        prop_assert_eq!(b.content(), tagged.content());
        prop_assert_eq!(same, a.containers == b.containers && a.cpu == b.cpu && a.memory == b.memory);
    }

    #[test]
    fn a_stored_definition_is_the_same(spec in specs()) {
        let stored = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<TaskDefinitionSpec>(&stored).unwrap(), spec);
    }
}
