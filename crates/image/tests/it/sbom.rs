//! What is in an image is told the same wherever it is made.

use nuages_image::{Base, Packages, Requirements, Sbom};
use nuages_model::Progress;
use serde_json::Value;

use crate::dependencies::{base, locks, store};

#[tokio::test]
async fn a_bill_of_materials_names_every_package() {
    let locks = locks("pipenv");
    let requirements = Requirements::of_file(&locks.path().join("checks.txt"), "linux/amd64").unwrap();
    let packages = Packages::install(&requirements, &base(), &store(), &Progress::none())
        .await
        .unwrap();
    let sbom = Sbom::of(&packages, &Base::scratch("linux/amd64")).unwrap();
    assert_eq!(Sbom::of(&packages, &Base::scratch("linux/amd64")).unwrap(), sbom);
    let document: Value = serde_json::from_slice(&sbom.content).unwrap();
    let components = document["components"].as_array().unwrap();
    let told: Vec<String> = components
        .iter()
        .map(|component| {
            let licence = &component["licenses"][0];
            let licence = licence["expression"]
                .as_str()
                .or_else(|| licence["license"]["name"].as_str());
            let hashes = component["externalReferences"][0]["hashes"]
                .as_array()
                .map_or(0, Vec::len);
            format!(
                "{} {} {hashes}",
                component["purl"].as_str().unwrap(),
                licence.unwrap_or("none")
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}
