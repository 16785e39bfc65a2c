//! What a person with rights makes once in an account, so that deploying needs no right to write IAM.
//!
//! Invariant: what is there and as it should be is left alone; nothing is taken away from anybody, but a policy's oldest
//! version where IAM keeps no more.

mod make;

use aws_sdk_iam::Client;
use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use nuages_aws::AwsContext;
use nuages_aws::error::describe;
use nuages_model::Arn;

use crate::error::InfraError;
use crate::iam::decode;
use crate::policies::{self, GITHUB, GithubEnvironment, Kind, NamedDocument, Place};

/// The name of the one inline policy of each role.
const INLINE: &str = "nuages";
/// Whom GitHub's tokens are for.
const AUDIENCE: &str = "sts.amazonaws.com";

/// The services that work as roles of their own, which a fresh account does not have, and those roles.
pub(crate) const LINKED: [(&str, &str); 4] = [
    ("ecs.amazonaws.com", "AWSServiceRoleForECS"),
    (
        "elasticloadbalancing.amazonaws.com",
        "AWSServiceRoleForElasticLoadBalancing",
    ),
    ("rds.amazonaws.com", "AWSServiceRoleForRDS"),
    (
        "ecs.application-autoscaling.amazonaws.com",
        "AWSServiceRoleForApplicationAutoScaling_ECSService",
    ),
];

/// What `infra bootstrap` made in an account for one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The role that CloudFormation works as, for [`Stack::with_service_role`](crate::Stack::with_service_role).
    pub service_role: Arn,
    /// The boundary of the stack's roles, for [`StackSpec::permissions_boundary`](crate::StackSpec::permissions_boundary).
    pub boundary: Arn,
}

/// Finds what `infra bootstrap` made; none where it was not run. One call. Who may not look is told so: without the
/// answer a stack's roles would lose their boundary.
///
/// ```no_run
/// # async fn example(aws: nuages_aws::AwsContext, place: nuages_infra::policies::Place) -> Result<(), nuages_infra::InfraError> {
/// let made = nuages_infra::bootstrapped(&aws, &place).await?;
/// let stack = nuages_infra::Stack::new(&aws, &place.app, &place.env).with_service_role(made.map(|made| made.service_role));
/// # Ok(())
/// # }
/// ```
pub async fn bootstrapped(aws: &AwsContext, place: &Place) -> Result<Option<Bootstrapped>, InfraError> {
    let iam = Client::new(aws.sdk());
    let name = place.role_name("cloudformation");
    let found = iam.get_role().role_name(name).send().await;
    let what = "look for the role that CloudFormation works as";
    let Some(answer) = there(what, "iam:GetRole", found)? else {
        return Ok(None);
    };
    let service_role = answer.role.and_then(|role| role.arn.parse().ok());
    Ok(service_role
        .zip(place.boundary_arn().parse().ok())
        .map(|(service_role, boundary)| Bootstrapped { service_role, boundary }))
}

/// What an account needs, and the connection to put it there.
#[derive(Debug)]
pub struct Bootstrap {
    iam: Client,
    place: Place,
    documents: Vec<NamedDocument>,
    github: bool,
    linked: bool,
}

/// One thing in IAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is and its name, for people.
    pub what: String,
    /// How it stands.
    pub standing: Standing,
    thing: Thing,
}

/// How something in IAM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not there.
    Missing,
    /// It is there and says something else.
    Differs,
    /// It is there as it should be.
    Same,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Document(usize),
    Provider,
    Linked(&'static str),
}

impl Bootstrap {
    /// What this environment needs; with GitHub its runners may deploy. No call is made.
    pub fn new(aws: &AwsContext, place: Place, github: Option<&GithubEnvironment>) -> Self {
        Self {
            iam: Client::new(aws.sdk()),
            documents: policies::bootstrap(&place, github),
            place,
            github: github.is_some(),
            linked: aws.quirks().needs_service_linked_roles(),
        }
    }

    /// The documents, in the order in which they can be made.
    pub fn documents(&self) -> &[NamedDocument] {
        &self.documents
    }

    /// The ARN of the role that deploys.
    pub fn deployer(&self) -> String {
        self.place.role_arn("deployer")
    }

    /// How each thing stands. Changes nothing.
    ///
    /// ```no_run
    /// # async fn example(bootstrap: nuages_infra::Bootstrap) -> Result<(), nuages_infra::InfraError> {
    /// for item in bootstrap.look().await? {
    ///     if item.standing != nuages_infra::Standing::Same {
    ///         bootstrap.put(&item).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn look(&self) -> Result<Vec<Item>, InfraError> {
        let mut items = Vec::new();
        for (service, role) in LINKED.into_iter().filter(|_| self.linked) {
            let found = self.iam.get_role().role_name(role).send().await;
            let found = there("look for a service-linked role", "iam:GetRole", found)?;
            items.push(Item {
                what: format!("service-linked role {role}"),
                standing: if found.is_some() {
                    Standing::Same
                } else {
                    Standing::Missing
                },
                thing: Thing::Linked(service),
            });
        }
        if self.github {
            items.push(Item {
                what: format!("identity provider {GITHUB}"),
                standing: self.look_at_provider().await?,
                thing: Thing::Provider,
            });
        }
        for (at, document) in self.documents.iter().enumerate() {
            let kind = match document.kind {
                Kind::ManagedPolicy => "managed policy",
                Kind::Trust | Kind::FirstTrust => "role",
                Kind::RolePolicy => "policy of the role",
            };
            let wanted = serde_json::to_value(&document.document).ok();
            let standing = match self.read(document).await? {
                None => Standing::Missing,
                Some(_) if document.kind == Kind::FirstTrust => Standing::Same,
                Some(text) if decode(&text) == wanted => Standing::Same,
                Some(_) => Standing::Differs,
            };
            items.push(Item {
                what: format!("{kind} {}", document.name),
                standing,
                thing: Thing::Document(at),
            });
        }
        Ok(items)
    }

    /// Makes or changes one thing as [`look`](Self::look) found it.
    pub async fn put(&self, item: &Item) -> Result<(), InfraError> {
        match (&item.thing, item.standing) {
            (_, Standing::Same) => Ok(()),
            (Thing::Provider, standing) => self.put_provider(standing).await,
            (Thing::Linked(service), _) => self.link(service).await,
            (Thing::Document(at), standing) => {
                let document = &self.documents[*at];
                let text = document.document.to_compact_json();
                match (document.kind, standing) {
                    (Kind::ManagedPolicy, Standing::Missing) => self.create_policy(document, text).await,
                    (Kind::ManagedPolicy, _) => self.change_policy(document, text).await,
                    (Kind::Trust | Kind::FirstTrust, Standing::Missing) => self.create_role(document, text).await,
                    (Kind::Trust | Kind::FirstTrust, _) => self.change_trust(document, text).await,
                    (Kind::RolePolicy, _) => self.put_role_policy(document, text).await,
                }
            }
        }
    }

    /// A document as IAM has it; none where what it belongs to is not there.
    async fn read(&self, document: &NamedDocument) -> Result<Option<String>, InfraError> {
        let what = "look at what is in IAM";
        let text = match document.kind {
            Kind::ManagedPolicy => {
                let arn = self.policy_arn(document);
                let found = self.iam.get_policy().policy_arn(&arn).send().await;
                let Some(found) = there(what, "iam:GetPolicy", found)? else {
                    return Ok(None);
                };
                let version = found.policy.and_then(|policy| policy.default_version_id);
                let call = self.iam.get_policy_version().policy_arn(&arn).set_version_id(version);
                let found = there(what, "iam:GetPolicyVersion", call.send().await)?;
                found.and_then(|found| found.policy_version?.document)
            }
            Kind::Trust | Kind::FirstTrust => {
                let found = self.iam.get_role().role_name(&document.name).send().await;
                let found = there(what, "iam:GetRole", found)?;
                found.and_then(|found| found.role?.assume_role_policy_document)
            }
            Kind::RolePolicy => {
                let call = self.iam.get_role_policy().role_name(&document.name);
                let found = call.policy_name(INLINE).send().await;
                there(what, "iam:GetRolePolicy", found)?.map(|found| found.policy_document)
            }
        };
        Ok(text)
    }

    fn policy_arn(&self, document: &NamedDocument) -> String {
        self.place.global("iam", &format!("policy/{}", document.name))
    }

    async fn look_at_provider(&self) -> Result<Standing, InfraError> {
        let call = self.iam.get_open_id_connect_provider();
        let found = call.open_id_connect_provider_arn(self.place.github_arn()).send().await;
        let found = there(
            "look for GitHub's identity provider",
            "iam:GetOpenIDConnectProvider",
            found,
        )?;
        Ok(match found {
            None => Standing::Missing,
            Some(found) if found.client_id_list().iter().any(|id| id == AUDIENCE) => Standing::Same,
            Some(_) => Standing::Differs,
        })
    }
}

type Refusal<E> = SdkError<E, HttpResponse>;

fn failed<E>(what: &'static str, action: &'static str, error: &Refusal<E>) -> InfraError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    InfraError::Call {
        what,
        source: describe(action, error),
    }
}

/// An answer; none where IAM says that there is no such thing.
fn there<T, E>(what: &'static str, action: &'static str, answer: Result<T, Refusal<E>>) -> Result<Option<T>, InfraError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => {
            let source = describe(action, &error);
            if source.kind == nuages_aws::Kind::NotFound {
                Ok(None)
            } else {
                Err(InfraError::Call { what, source })
            }
        }
    }
}
