//! Writing to IAM, one thing a call.
//!
//! Invariant: what is written is what was read and found missing or different; nothing here decides.

use aws_sdk_iam::types::Tag;

use super::{AUDIENCE, Bootstrap, INLINE, Standing, failed};
use crate::error::InfraError;
use crate::policies::{GITHUB, NamedDocument};
use crate::template::{TAG_APP, TAG_ENV};

/// IAM keeps so many versions of a managed policy.
const VERSIONS: usize = 5;

impl Bootstrap {
    fn tags(&self) -> Vec<Tag> {
        [(TAG_APP, self.place.app.as_str()), (TAG_ENV, self.place.env.as_str())]
            .into_iter()
            // It asks for a key and a value, and gets both.
            .filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok())
            .collect()
    }

    pub(super) async fn create_policy(&self, document: &NamedDocument, text: String) -> Result<(), InfraError> {
        let call = self.iam.create_policy().policy_name(&document.name);
        let call = call.policy_document(text).description(about(document));
        let made = call.set_tags(Some(self.tags())).send().await;
        made.map(drop)
            .map_err(|e| failed("make a managed policy", "iam:CreatePolicy", &e))
    }

    pub(super) async fn change_policy(&self, document: &NamedDocument, text: String) -> Result<(), InfraError> {
        let arn = self.policy_arn(document);
        let listed = self.iam.list_policy_versions().policy_arn(&arn).send().await;
        let listed = listed.map_err(|e| failed("list a policy's versions", "iam:ListPolicyVersions", &e))?;
        let mut spare: Vec<_> = listed.versions().iter().filter(|v| !v.is_default_version()).collect();
        spare.sort_by_key(|version| version.create_date().copied());
        if let (true, Some(oldest)) = (listed.versions().len() >= VERSIONS, spare.first()) {
            let call = self.iam.delete_policy_version().policy_arn(&arn);
            let gone = call.set_version_id(oldest.version_id().map(str::to_owned)).send().await;
            gone.map_err(|e| failed("make room for a policy's version", "iam:DeletePolicyVersion", &e))?;
        }
        let call = self.iam.create_policy_version().policy_arn(&arn).policy_document(text);
        let made = call.set_as_default(true).send().await;
        made.map(drop)
            .map_err(|e| failed("change a managed policy", "iam:CreatePolicyVersion", &e))
    }

    pub(super) async fn create_role(&self, document: &NamedDocument, trust: String) -> Result<(), InfraError> {
        let call = self.iam.create_role().role_name(&document.name);
        let call = call.assume_role_policy_document(trust).description(about(document));
        let made = call.set_tags(Some(self.tags())).send().await;
        made.map(drop).map_err(|e| failed("make a role", "iam:CreateRole", &e))
    }

    pub(super) async fn change_trust(&self, document: &NamedDocument, trust: String) -> Result<(), InfraError> {
        let call = self.iam.update_assume_role_policy().role_name(&document.name);
        let changed = call.policy_document(trust).send().await;
        changed
            .map(drop)
            .map_err(|e| failed("change a role's trust", "iam:UpdateAssumeRolePolicy", &e))
    }

    pub(super) async fn put_role_policy(&self, document: &NamedDocument, text: String) -> Result<(), InfraError> {
        let call = self.iam.put_role_policy().role_name(&document.name);
        let put = call.policy_name(INLINE).policy_document(text).send().await;
        put.map(drop)
            .map_err(|e| failed("put a policy into a role", "iam:PutRolePolicy", &e))
    }

    pub(super) async fn link(&self, service: &str) -> Result<(), InfraError> {
        let made = self.iam.create_service_linked_role().aws_service_name(service);
        made.send()
            .await
            .map(drop)
            .map_err(|e| failed("make a service-linked role", "iam:CreateServiceLinkedRole", &e))
    }

    /// The provider is the account's and not the environment's: another audience is added, none is taken away.
    pub(super) async fn put_provider(&self, standing: Standing) -> Result<(), InfraError> {
        if standing == Standing::Missing {
            let call = self
                .iam
                .create_open_id_connect_provider()
                .url(format!("https://{GITHUB}"));
            let made = call.client_id_list(AUDIENCE).send().await;
            made.map(drop)
                .map_err(|e| failed("make the identity provider", "iam:CreateOpenIDConnectProvider", &e))
        } else {
            let call = self.iam.add_client_id_to_open_id_connect_provider().client_id(AUDIENCE);
            let added = call.open_id_connect_provider_arn(self.place.github_arn()).send().await;
            let action = "iam:AddClientIDToOpenIDConnectProvider";
            added
                .map(drop)
                .map_err(|e| failed("add an audience to the identity provider", action, &e))
        }
    }
}

/// IAM's descriptions take a few characters less than people's sentences have.
fn about(document: &NamedDocument) -> String {
    format!("Made by nuages infra bootstrap: {}", document.purpose.replace('\'', ""))
}
