//! How long a bad answer is waited for, and what is said of it; by a site that answers from a script.

use std::sync::Mutex;

use nuages_releases::{EnvironmentKey, Store};
use nuages_saga::{ErrorReport, Plan, StepId};

use super::*;
use crate::steps::site::scripted::{Pages, with_pages};

/// How it ended, how long it took, and how often a page was asked for.
struct Ended {
    result: Result<SmokeOutput, ErrorReport>,
    took: Duration,
    pages: usize,
}

/// The smoke test of a site that answers so: by path, and by how many questions of that path came before.
async fn tested(answer: impl Fn(&str, usize) -> u16 + Send + Sync + 'static) -> Ended {
    let aws = nuages_testkit::aws::as_if_real("http://127.0.0.1:1");
    let folder = tempfile::tempdir().unwrap();
    let key = EnvironmentKey {
        account: aws.identity().account.clone(),
        region: aws.region().clone(),
        app: "blog".parse().unwrap(),
        env: "staging".parse().unwrap(),
    };
    let store = Store::open(&folder.path().join("nuages.db")).await.unwrap();
    let tools = Tools {
        aws,
        store: store.environment(key).await.unwrap(),
        fence: None,
    };
    let params = SmokeParams {
        site: Site {
            url: "http://www.example.org/".parse().unwrap(),
            via: None,
            ready: "/readyz".into(),
        },
        live: Some("/livez".into()),
        page: "/front/".into(),
        rollout: None,
    };
    let step: StepId = "smoke".parse().unwrap();
    let plan = Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0");
    let cx = StepContext::new(&plan, &step, 1, Progress::none());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let pages: Pages = Arc::new(move |url| {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|path| *path == url.path()).count();
        seen.push(url.path().to_owned());
        match answer(url.path(), before) {
            0 => Err(Bad::Silent("nobody is there".into())),
            status => Ok((status, format!("<title>it is {status}</title>"))),
        }
    });
    let began = Instant::now();
    let smoke = Smoke(Arc::new(tools), params);
    let result = with_pages(pages, smoke.apply(&cx, ())).await;
    Ended {
        result: result.map_err(|error| ErrorReport::of(error.error())),
        took: began.elapsed(),
        pages: asked.lock().unwrap().iter().filter(|path| *path == "/front/").count(),
    }
}

/// Ready and alive, and answering its page so.
async fn page(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Ended {
    tested(move |path, before| if path == "/front/" { answer(before) } else { 200 }).await
}

#[tokio::test(start_paused = true)]
async fn a_path_that_no_load_balancer_would_find_healthy_fails() {
    let ended = tested(|path, _| if path == "/livez" { 404 } else { 200 }).await;
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    let error = ended.result.unwrap_err();
    assert!(error.message.contains("/livez answered 404"), "{}", error.message);
    let hint = error.hint.unwrap();
    assert!(
        hint.starts_with("the project has nothing at `/livez`, which the load balancer asks for ever")
            && hint.ends_with("with `live` in `health` of [services.web]"),
        "{hint}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_not_there_is_told_soon_with_the_key_that_names_another() {
    let ended = page(|_| 404).await;
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    assert!(ended.pages >= 5, "believed after {} answers", ended.pages);
    let error = ended.result.unwrap_err();
    assert_eq!(
        error.message,
        "GET http://www.example.org/front/ answered 404: it is 404"
    );
    let hint = error.hint.unwrap();
    assert!(
        hint.starts_with("the project has no page at `/front/`: add one"),
        "{hint}"
    );
    assert!(
        hint.ends_with("`page = \"/…\"` in `health` of [services.web]"),
        "{hint}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_the_application_is_waited_for() {
    for status in [502, 503, 504, 429, 0] {
        let came = page(move |before| if before < 100 { status } else { 200 }).await;
        assert_eq!(came.result.unwrap().status, 200, "{status}, for 25 seconds");
        let stayed = page(move |_| status).await;
        assert!(stayed.took >= LIMIT, "{status}: {:?}", stayed.took);
        assert!(
            stayed
                .result
                .unwrap_err()
                .hint
                .unwrap()
                .contains("nuages logs --env staging")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_is_not_steady() {
    let ended = page(|before| match before {
        0..40 if before % 4 == 0 => 502,
        0..40 => 404,
        _ => 200,
    });
    assert_eq!(ended.await.result.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_its_own_way_out() {
    let hint = async |ready: u16, page: u16| {
        let answer = move |path: &str, _| match path {
            "/readyz" => ready,
            "/front/" => page,
            _ => 200,
        };
        let ended = tested(answer).await;
        assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
        ended.result.unwrap_err().hint.unwrap()
    };
    assert!(hint(404, 200).await.starts_with("the project has nothing at `/readyz`"));
    assert!(
        hint(400, 200)
            .await
            .contains("ALLOWED_HOSTS: add the value of NUAGES_PUBLIC_HOST")
    );
    assert!(hint(200, 403).await.starts_with("`/front/` is not for everybody"));
    assert!(hint(500, 200).await.contains("nuages logs"));
    assert!(hint(200, 500).await.contains("nuages logs"));
}
