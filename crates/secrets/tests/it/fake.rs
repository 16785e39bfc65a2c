//! The shared fake of Secrets Manager and Parameter Store, over HTTP.

use std::sync::{Arc, Mutex};

use nuages_secrets::{Scope, SecretsManager};
use nuages_testkit::aws::as_if_real;
use nuages_testkit::fake_secrets::{FakeSecrets, Secret};
use nuages_testkit::http::{FakeServer, operation};

pub(crate) struct Fake {
    pub(crate) server: FakeServer,
    pub(crate) world: Arc<Mutex<FakeSecrets>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let world = Arc::new(Mutex::new(FakeSecrets::default()));
        let shared = world.clone();
        let server = FakeServer::start(move |request| {
            let answer = shared.lock().unwrap().answer(&request);
            async move { answer }
        })
        .await;
        Self { server, world }
    }

    pub(crate) fn manager(&self) -> SecretsManager {
        let scope = Scope::new("blog".parse().unwrap(), "staging".parse().unwrap());
        SecretsManager::new(&as_if_real(&self.server.url()), scope)
    }

    /// Somebody else's secret.
    pub(crate) fn given(&self, name: &str, value: &str) {
        self.world
            .lock()
            .unwrap()
            .put(name, Some(value.to_owned()), &format!("given-{name}"));
    }

    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Secret)) {
        edit(
            self.world
                .lock()
                .unwrap()
                .secrets
                .get_mut(name)
                .expect("the secret is there"),
        );
    }

    pub(crate) fn value(&self, name: &str) -> String {
        self.world.lock().unwrap().value(name).expect("text")
    }

    /// The operations since the last call, in order of arrival.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.server.requests().iter().filter_map(operation).collect()
    }

    pub(crate) fn arn(name: &str) -> String {
        FakeSecrets::arn(name)
    }
}
