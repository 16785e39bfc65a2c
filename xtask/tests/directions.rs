//! Who may import whom: the arrows between the crates run one way only.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every crate and the crates of the workspace that it may import. Dev-dependencies are free.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("nuages-model", &[]),
    ("nuages-config", &["nuages-model"]),
    ("nuages-saga", &["nuages-model"]),
    ("nuages-aws", &["nuages-model"]),
    // Adapters: useful alone, so they know neither our file nor our saga nor each other.
    ("nuages-image", &["nuages-model", "nuages-aws"]),
    ("nuages-registry", &["nuages-model", "nuages-aws"]),
    ("nuages-secrets", &["nuages-model", "nuages-aws"]),
    ("nuages-migrate", &["nuages-model", "nuages-aws"]),
    ("nuages-ecs", &["nuages-model", "nuages-aws"]),
    ("nuages-ec2", &["nuages-model", "nuages-aws"]),
    ("nuages-infra", &["nuages-model", "nuages-aws"]),
    ("nuages-releases", &["nuages-model", "nuages-saga", "nuages-aws"]),
    ("nuages-emulator", &["nuages-model"]),
    (
        "nuages-pipeline",
        &[
            "nuages-model",
            "nuages-config",
            "nuages-saga",
            "nuages-aws",
            "nuages-image",
            "nuages-registry",
            "nuages-secrets",
            "nuages-migrate",
            "nuages-ecs",
            "nuages-ec2",
            "nuages-infra",
            "nuages-releases",
            "nuages-emulator",
        ],
    ),
    (
        "nuages",
        &[
            "nuages-model",
            "nuages-config",
            "nuages-saga",
            "nuages-aws",
            "nuages-image",
            "nuages-infra",
            "nuages-releases",
            "nuages-emulator",
            "nuages-secrets",
            "nuages-pipeline",
        ],
    ),
    ("nuages-testkit", &["nuages-model", "nuages-aws", "nuages-emulator"]),
    ("xtask", &[]),
];

#[test]
fn every_arrow_runs_the_right_way() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata answers");
    let rules: BTreeMap<&str, BTreeSet<&str>> = MAY_IMPORT
        .iter()
        .map(|(name, may)| (*name, may.iter().copied().collect()))
        .collect();
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(
        members,
        rules.keys().copied().collect(),
        "a crate without a rule, or a rule without a crate"
    );
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if members.contains(to) && !rules[from].contains(to) {
                wrong.push(format!("{from} imports {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}

#[test]
fn xtask_builds_without_an_sdk() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata answers");
    let xtask = metadata
        .packages
        .iter()
        .find(|package| package.name == "xtask")
        .expect("xtask is a member");
    let normal = xtask.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
    let names: BTreeSet<&str> = normal.map(|d| d.name.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["clap", "console", "ctrlc", "indicatif", "xshell"]),
        "xtask must build in seconds"
    );
}
