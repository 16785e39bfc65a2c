//! The image repository.
//!
//! Invariant: the image of a recorded release is never expired, and no tag ever points at another image.

use super::resources::{
    ImageScanning, LifecycleAction, LifecyclePolicy, LifecycleRule, LifecycleRules, LifecycleSelection, Repository,
    RepositoryEncryption,
};
use super::{Keep, Template};
use crate::spec::StackSpec;

/// How long an image that no release came of is kept: time enough to look at a deploy that failed.
const UNUSED_DAYS: u32 = 14;

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    let repository = template.add(
        "Repository",
        &Repository {
            // With keys of ECR itself; a customer key would cost a dollar a month and a grant for every puller.
            encryption_configuration: RepositoryEncryption {
                encryption_type: "AES256",
            },
            image_scanning_configuration: ImageScanning { scan_on_push: true },
            image_tag_mutability: "IMMUTABLE",
            lifecycle_policy: LifecyclePolicy {
                lifecycle_policy_text: LifecycleRules { rules: rules() },
            },
            repository_name: spec.name(),
        },
    );
    // It can be pushed again from the source; `down` empties it first.
    repository.keep(Keep::NOTHING);
}

fn rules() -> Vec<LifecycleRule> {
    let expire = LifecycleAction { kind: "expire" };
    vec![
        // ECR: what matches a rule cannot be expired by a later one. An image has its `build-` tag still when it
        // becomes a release, so releases are named first, with a count that no environment reaches.
        LifecycleRule {
            rule_priority: 1,
            description: "releases stay",
            selection: LifecycleSelection {
                tag_status: "tagged",
                tag_prefix_list: vec!["r-"],
                count_type: "imageCountMoreThan",
                count_unit: None,
                count_number: 10_000,
            },
            action: expire.clone(),
        },
        LifecycleRule {
            rule_priority: 2,
            description: "builds that became no release",
            selection: LifecycleSelection {
                tag_status: "tagged",
                tag_prefix_list: vec!["build-"],
                count_type: "sinceImagePushed",
                count_unit: Some("days"),
                count_number: UNUSED_DAYS,
            },
            action: expire.clone(),
        },
        LifecycleRule {
            rule_priority: 3,
            description: "pushes that were broken off",
            selection: LifecycleSelection {
                tag_status: "untagged",
                tag_prefix_list: Vec::new(),
                count_type: "sinceImagePushed",
                count_unit: Some("days"),
                count_number: UNUSED_DAYS,
            },
            action: expire,
        },
    ]
}
