//! The IAM policies of an environment's three identities, for a person with rights to make once.
//!
//! Invariant: who deploys may write nothing in IAM. Roles are made by CloudFormation's own role, and only under the
//! boundary, so that nobody can give a role more than the boundary has.

mod deployer;
mod evaluate;
mod service;

pub use evaluate::{Decision, Request, check, evaluate};

use nuages_model::{AccountId, AppName, Arn, EnvName, Region};

pub use crate::iam::Document;
use crate::iam::{Principal, Statement};

/// The environment that the policies are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// The region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
    /// `aws`, `aws-cn`, …, as STS said it.
    pub partition: String,
    /// The Route 53 zone of the environment's domain.
    pub hosted_zone: Option<String>,
    /// The secrets that the environment reads, by name or ARN. Those under `APP/` need no entry.
    pub secrets: Vec<String>,
    /// The SSM parameters that it reads, by path or ARN. Those under `/APP/` need no entry.
    pub parameters: Vec<String>,
}

/// Where CI runs, as GitHub's identity provider names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubEnvironment {
    /// `ORG/REPO`.
    pub repository: String,
    /// The deployment environment in GitHub's settings, which is where approvals are asked for.
    pub environment: String,
}

/// Where a document belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is a managed policy.
    ManagedPolicy,
    /// It is a role's trust policy.
    Trust,
    /// It is a role's trust policy as long as nobody gave the role another one.
    FirstTrust,
    /// It is a role's inline policy.
    RolePolicy,
}

/// One document that a person puts into IAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDocument {
    /// The role or policy that it belongs to.
    pub name: String,
    /// Where it belongs.
    pub kind: Kind,
    /// What it is, for people.
    pub purpose: &'static str,
    /// The document.
    pub document: Document,
}

/// GitHub's identity provider.
pub(crate) const GITHUB: &str = "token.actions.githubusercontent.com";

impl Place {
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:{}:{service}:{}:{}:{resource}",
            self.partition, self.region, self.account
        )
    }

    /// An ARN of a service that knows no regions.
    pub(crate) fn global(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}::{}:{resource}", self.partition, self.account)
    }

    /// `APP-ENV`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.app, self.env)
    }

    /// The name of a role or policy of this environment. Both are global, so the region is part of it.
    pub fn role_name(&self, what: &str) -> String {
        format!("{}-{}-{what}", self.name(), self.region)
    }

    /// The ARN of a role of this environment.
    pub fn role_arn(&self, what: &str) -> String {
        self.global("iam", &format!("role/{}", self.role_name(what)))
    }

    /// The ARN of the boundary.
    pub fn boundary_arn(&self) -> String {
        self.global("iam", &format!("policy/{}", self.role_name("boundary")))
    }

    pub(crate) fn github_arn(&self) -> String {
        self.global("iam", &format!("oidc-provider/{GITHUB}"))
    }

    /// The ARNs of the secrets that do not stand under `APP/`. To a name AWS adds a hyphen and six characters; of one
    /// that does not exist, and may be optional, the name is all there is.
    pub(crate) fn other_secrets(&self) -> Vec<String> {
        let own = self.arn("secretsmanager", &format!("secret:{}/", self.app));
        others(&own, &self.secrets, |name| {
            let arn = self.arn("secretsmanager", &format!("secret:{name}"));
            vec![format!("{arn}-??????"), arn]
        })
    }

    /// The ARNs of the parameters that do not stand under `/APP/`.
    pub(crate) fn other_parameters(&self) -> Vec<String> {
        let own = self.arn("ssm", &format!("parameter/{}/", self.app));
        others(&own, &self.parameters, |path| {
            vec![self.arn("ssm", &format!("parameter/{}", path.trim_start_matches('/')))]
        })
    }

    pub(crate) fn stack(&self) -> String {
        self.arn(
            "cloudformation",
            &format!("stack/{}/*", crate::spec::stack_name(&self.app, &self.env)),
        )
    }
}

/// The ARNs of those that are named and do not begin as our own do.
fn others(own: &str, named: &[String], arns: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let arns = named.iter().flat_map(|name| {
        if name.starts_with("arn:") {
            vec![name.clone()]
        } else {
            arns(name)
        }
    });
    let others: std::collections::BTreeSet<String> = arns.filter(|arn| !arn.starts_with(own)).collect();
    others.into_iter().collect()
}

/// What the identity that deploys may do: everything that `deploy`, `plan`, `rollback` and `verify` call.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use nuages_infra::policies::{Place, deployer};
///
/// let place = Place {
///     app: "blog".parse()?, env: "staging".parse()?, region: "eu-west-1".parse()?,
///     account: "123456789012".parse()?, partition: "aws".into(), hosted_zone: None,
///     secrets: vec!["shared/sentry".into()], parameters: Vec::new(),
/// };
/// assert!(deployer(&place).to_json().contains("\"ecs:UpdateService\""));
/// # Ok(())
/// # }
/// ```
pub fn deployer(place: &Place) -> Document {
    deployer::policy(place)
}

/// What `infra down` needs beyond [`deployer`]. CI is better without it.
pub fn teardown(place: &Place) -> Document {
    deployer::teardown(place)
}

/// What CloudFormation may do when it works on the environment's stack.
pub fn service_role(place: &Place) -> Document {
    service::policy(place)
}

/// The most that any role of the stack can be given.
pub fn boundary(place: &Place) -> Document {
    service::boundary(place)
}

/// CloudFormation may work as the service role, for this account's stacks.
pub fn service_role_trust(place: &Place) -> Document {
    let principal = Principal::Service("cloudformation.amazonaws.com".to_owned());
    Document::new(vec![
        Statement::trust("CloudFormation", principal, "sts:AssumeRole")
            .when("StringEquals", "aws:SourceAccount", [place.account.as_str()])
            .when("ArnLike", "aws:SourceArn", [place.stack()]),
    ])
}

/// GitHub's runners may deploy from one environment of one repository, and from nowhere else.
pub fn github_trust(place: &Place, github: &GithubEnvironment) -> Document {
    let provider = Principal::Federated(place.github_arn());
    let subject = format!("repo:{}:environment:{}", github.repository, github.environment);
    Document::new(vec![
        Statement::trust("GitHub", provider, "sts:AssumeRoleWithWebIdentity")
            .when("StringEquals", &format!("{GITHUB}:aud"), ["sts.amazonaws.com"])
            .when("StringEquals", &format!("{GITHUB}:sub"), [subject]),
    ])
}

/// Who may assume roles in this account may deploy. IAM leaves the choice to the policies of each person.
pub fn account_trust(place: &Place) -> Document {
    let account = Principal::Aws(place.global("iam", "root"));
    Document::new(vec![Statement::trust("Account", account, "sts:AssumeRole")])
}

/// Everything that `infra bootstrap` prints or makes, in the order in which it can be made.
pub fn bootstrap(place: &Place, github: Option<&GithubEnvironment>) -> Vec<NamedDocument> {
    let named = |what: &str, kind, purpose, document| NamedDocument {
        name: place.role_name(what),
        kind,
        purpose,
        document,
    };
    vec![
        named(
            "boundary",
            Kind::ManagedPolicy,
            "managed policy: the boundary of every role of the stack",
            boundary(place),
        ),
        named(
            "cloudformation",
            Kind::Trust,
            "trust policy of the role that CloudFormation works as",
            service_role_trust(place),
        ),
        named(
            "cloudformation",
            Kind::RolePolicy,
            "inline policy of that role",
            service_role(place),
        ),
        match github {
            Some(github) => named(
                "deployer",
                Kind::Trust,
                "trust policy of the role that deploys, for GitHub",
                github_trust(place, github),
            ),
            None => named(
                "deployer",
                Kind::FirstTrust,
                "trust policy of the role that deploys, for who may assume roles in this account",
                account_trust(place),
            ),
        },
        named(
            "deployer",
            Kind::RolePolicy,
            "inline policy of that role",
            deployer(place),
        ),
        named(
            "teardown",
            Kind::ManagedPolicy,
            "managed policy: for a person who may take the environment down, beside the deployer's",
            teardown(place),
        ),
    ]
}

/// The ARN of the role that CloudFormation works as, for [`Stack::with_service_role`](crate::Stack::with_service_role).
pub fn service_role_arn(place: &Place) -> Result<Arn, nuages_model::ArnError> {
    place.role_arn("cloudformation").parse()
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
