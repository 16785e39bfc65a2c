//! What is said about an engine that cannot be used.

use std::path::Path;

use nuages_emulator::{EmulatorError, Engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// An engine of which only its version is known.
fn pretend(path: &Path, version: &'static str, api: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                    let body = format!(r#"{{"Version":"{version}","ApiVersion":"{api}","MinAPIVersion":"1.12"}}"#);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    if stream.write_all((head + &body).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

async fn refusal(path: &Path) -> EmulatorError {
    Engine::connect_to(&format!("unix://{}", path.display()))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn no_socket_is_no_docker() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder.path().join("docker.sock")).await;
    assert!(matches!(error, EmulatorError::NoSocket { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("install Docker"));
}

#[tokio::test]
async fn a_socket_without_a_listener_is_an_engine_that_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = refusal(&path).await;
    assert!(matches!(error, EmulatorError::NotRunning { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("systemctl start docker"));
}

#[tokio::test]
async fn an_old_engine_is_refused_by_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    pretend(&path, "19.03.15", "1.40");
    let error = refusal(&path).await;
    assert_eq!(
        error.to_string(),
        "the Docker engine is too old: 19.03.15 speaks API 1.40, and 20.10 (API 1.41) is the least that works"
    );
}

#[tokio::test]
async fn an_engine_elsewhere_is_not_for_the_local_environment() {
    let error = Engine::connect_to("ssh://build.example").await.unwrap_err();
    assert!(matches!(error, EmulatorError::BadHost { .. }), "{error:?}");
}

#[tokio::test]
async fn the_engine_of_this_machine_answers() {
    let engine = Engine::connect().await.unwrap();
    assert!(!engine.version().is_empty());
    assert!(engine.socket_to_mount().is_absolute());
}
