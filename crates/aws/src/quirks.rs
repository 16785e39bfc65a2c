//! All that is special about an emulator. Every other file takes the path that real AWS takes.
//!
//! Invariant: without an endpoint override every answer here is the identity: what AWS said is used as AWS said it.

use std::str::FromStr;

use nuages_model::Region;
use url::Url;

/// The emulators that nuages knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmulatorKind {
    /// MiniStack: ECS that runs real containers, ECR with a real registry, RDS with a real PostgreSQL.
    MiniStack,
    /// LocalStack; its community edition has no ECR, ECS and load balancers.
    LocalStack,
}

impl FromStr for EmulatorKind {
    type Err = String;
    fn from_str(value: &str) -> Result<Self, String> {
        match value {
            "ministack" => Ok(Self::MiniStack),
            "localstack" => Ok(Self::LocalStack),
            other => Err(format!(
                "`{other}` is no emulator that nuages knows (ministack, localstack)"
            )),
        }
    }
}

/// How the other side differs from AWS.
#[derive(Debug, Clone)]
pub struct Quirks {
    emulator: Option<(EmulatorKind, Url)>,
}

impl Quirks {
    /// Real AWS.
    pub const fn none() -> Self {
        Self { emulator: None }
    }

    /// An emulator at this endpoint.
    pub const fn emulator(kind: EmulatorKind, endpoint: Url) -> Self {
        Self {
            emulator: Some((kind, endpoint)),
        }
    }

    /// Tells an emulator by its endpoint: an override that is no AWS host (a VPC endpoint's name ends in AWS's domain).
    /// `NUAGES_EMULATOR` says which one it is; MiniStack unless it says otherwise.
    pub fn from_endpoint(endpoint: Option<&Url>, named: Option<EmulatorKind>) -> Self {
        match endpoint {
            Some(url) if !url.host_str().is_some_and(is_aws_host) => {
                Self::emulator(named.unwrap_or(EmulatorKind::MiniStack), url.clone())
            }
            _ => Self::none(),
        }
    }

    /// Whether the other side is an emulator.
    pub const fn is_emulator(&self) -> bool {
        self.emulator.is_some()
    }

    /// Which emulator it is.
    pub fn emulator_kind(&self) -> Option<EmulatorKind> {
        self.emulator.as_ref().map(|(kind, _)| *kind)
    }

    fn ministack(&self) -> Option<&Url> {
        self.emulator
            .as_ref()
            .filter(|(kind, _)| *kind == EmulatorKind::MiniStack)
            .map(|(_, url)| url)
    }

    /// The host under which we reach the registry that AWS calls `ACCOUNT.dkr.ecr.REGION.…`. MiniStack answers AWS's
    /// name and serves the registry at its own port.
    pub fn registry_host(&self, aws_host: &str) -> String {
        match self.ministack() {
            Some(url) => format!("localhost:{}", url.port_or_known_default().unwrap_or(4566)),
            None => aws_host.to_owned(),
        }
    }

    /// Whether the registry speaks plain HTTP.
    pub fn registry_is_plain_http(&self) -> bool {
        self.ministack().is_some_and(|url| url.scheme() == "http")
    }

    /// Whether the database instance is made by the RDS API: MiniStack's CloudFormation only records it.
    pub fn database_by_api(&self) -> bool {
        self.ministack().is_some()
    }

    /// The URL of a load balancer, as a browser on this machine reaches it.
    pub fn load_balancer_url(&self, dns_name: &str, https: bool) -> Result<Url, url::ParseError> {
        match self.ministack() {
            Some(endpoint) => {
                // MiniStack's data plane listens at its own port and tells load balancers by the Host header:
                // `NAME.alb.localhost`, which browsers resolve to loopback. DNS names are `NAME-ID.REGION.elb.…`.
                let label = dns_name.split('.').next().unwrap_or(dns_name);
                let first = label.rsplit_once('-').map_or(label, |(name, _)| name);
                let port = endpoint.port_or_known_default().unwrap_or(4566);
                Url::parse(&format!("http://{first}.alb.localhost:{port}/"))
            }
            None => Url::parse(&format!("{}://{dns_name}/", if https { "https" } else { "http" })),
        }
    }

    /// Whether a fresh account is empty of service-linked roles that must exist before a stack is made.
    pub const fn needs_service_linked_roles(&self) -> bool {
        self.emulator.is_none()
    }

    /// Whether a change set counts a template as changed whose outputs alone differ. MiniStack's compares resources.
    pub const fn change_sets_see_outputs(&self) -> bool {
        self.emulator.is_none()
    }

    /// The region used where none is configured: emulators accept any.
    pub fn default_region(&self) -> Option<Region> {
        self.emulator.as_ref().and_then(|_| "us-east-1".parse().ok())
    }
}

fn is_aws_host(host: &str) -> bool {
    [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".api.aws",
        ".amazonwebservices.com.cn",
    ]
    .iter()
    .any(|d| host.ends_with(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_taken_at_its_word() {
        let vpc: Url = "https://vpce-1.ecs.eu-west-1.vpce.amazonaws.com".parse().unwrap();
        for quirks in [Quirks::none(), Quirks::from_endpoint(Some(&vpc), None)] {
            assert!(!quirks.is_emulator());
            assert_eq!(
                quirks.registry_host("1.dkr.ecr.x.amazonaws.com"),
                "1.dkr.ecr.x.amazonaws.com"
            );
            assert_eq!(
                quirks.load_balancer_url("a.elb.amazonaws.com", true).unwrap().as_str(),
                "https://a.elb.amazonaws.com/"
            );
            assert!(!quirks.database_by_api() && !quirks.registry_is_plain_http());
            assert!(quirks.change_sets_see_outputs() && quirks.needs_service_linked_roles());
        }
    }

    #[test]
    fn ministack_serves_all_at_one_port() {
        let url: Url = "http://127.0.0.1:4600".parse().unwrap();
        let quirks = Quirks::from_endpoint(Some(&url), None);
        assert_eq!(quirks.emulator_kind(), Some(EmulatorKind::MiniStack));
        assert_eq!(
            quirks.registry_host("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
            "localhost:4600"
        );
        assert_eq!(
            quirks
                .load_balancer_url("blog-local-p8qa54cw.eu-west-1.elb.amazonaws.com", false)
                .unwrap()
                .as_str(),
            "http://blog-local.alb.localhost:4600/"
        );
        assert!(!quirks.change_sets_see_outputs() && !quirks.needs_service_linked_roles());
    }
}
