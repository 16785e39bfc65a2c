//! The validated settings of one environment.
//!
//! Invariant: serialised, a [`Config`] has the shape of `nuages.toml`, and two that are equal have the same fingerprint
//! wherever the project's folder lies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nuages_model::{AccountId, AppName, Digest, EnvName, Region, ServiceName};
use serde::Serialize;

use crate::{Build, Check, Database, Emulator, Migrations, Network, SecretSource, Service, Strategy, Target};

/// Everything that a deployment to one environment needs to know from `nuages.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The environment that these settings are for.
    #[serde(rename = "environment")]
    pub env: Environment,
    /// The region to deploy to.
    pub region: Region,
    /// The only account to deploy to. Always there for a real account; an emulator may have one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The emulator that stands in for AWS, in an environment on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Emulator>,
    /// What runs the services.
    pub target: Target,
    /// How a new release takes the place of the old one.
    pub strategy: Strategy,
    /// The host name that serves HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The Route 53 zone of the domain, where it is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_zone: Option<String>,
    /// Served over plain HTTP, without a domain.
    pub insecure_http: bool,
    /// The application.
    pub app: App,
    /// How the image is built.
    pub build: Build,
    /// Gates between build and push, by name.
    pub checks: BTreeMap<String, Check>,
    /// The services, deployed as one release.
    pub services: BTreeMap<ServiceName, Service>,
    /// The managed database, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Where tasks run in the network.
    pub network: Network,
    /// How migrations run.
    pub migrations: Migrations,
    /// Plain environment variables of every container: `[env]`.
    #[serde(rename = "env")]
    pub variables: BTreeMap<String, String>,
    /// Secret environment variables of every container, by name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The folder of `nuages.toml`: what relative paths start from. No part of the fingerprint.
    #[serde(skip)]
    pub project_dir: PathBuf,
}

/// The application: `[app]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    /// Its name, a part of every resource's name.
    pub name: AppName,
}

/// The environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Its name, as in `[environments.NAME]`.
    pub name: EnvName,
}

impl Config {
    /// A digest of every setting: equal for equal settings, on any machine and in any folder.
    pub fn fingerprint(&self) -> Digest {
        // Serialising cannot fail: every map has text for keys, and every value is a plain one.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&json)
    }

    /// The service that the load balancer sends requests to, with its name.
    pub fn web(&self) -> Option<(&ServiceName, &Service)> {
        self.services.iter().find(|(_, service)| service.port.is_some())
    }
}
