//! `nuages image`: images by themselves, in a registry that wants a login and in folders.

use nuages_model::Digest;
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry};
use serde_json::{Value, json};

use crate::support::{Place, Said};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SBOM: &str = "application/vnd.cyclonedx+json";

fn described(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() })
}

/// A registry with an image of two platforms at `blog:v1`, and a bill of materials of the one for `linux/amd64`.
async fn registry() -> (FakeRegistry, Digest) {
    let registry = FakeRegistry::start(Behaviour {
        basic: Some(("user".into(), "secret".into())),
        referrers: true,
        ..Behaviour::default()
    })
    .await;
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let layers: [&[u8]; 2] = [b"the same base", architecture.as_bytes()];
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "User": "10001:10001", "Cmd": ["gunicorn", "blog.wsgi"], "Env": ["PATH=/bin", "TOKEN=hunter2"],
                "ExposedPorts": { "8000/tcp": {} }, "WorkingDir": "/app", "Labels": { "app": "blog" } },
            "rootfs": { "type": "layers", "diff_ids": layers.map(Digest::of) },
            "history": [{ "created_by": "the base" }, { "created_by": "ENV x", "empty_layer": true }, { "created_by": "code" }],
        })
        .to_string();
        for blob in layers.into_iter().chain([config.as_bytes()]) {
            registry.add_blob("blog", blob);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": layers.map(|layer| described("application/vnd.oci.image.layer.v1.tar+gzip", layer)),
        })
        .to_string();
        let digest = registry.add_manifest("blog", MANIFEST, manifest.as_bytes(), architecture);
        children.push(json!({
            "mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let sbom = br#"{"bomFormat":"CycloneDX"}"#;
    registry.add_blob("blog", sbom);
    registry.add_blob("blog", b"{}");
    let subject = children[0].clone();
    let refers = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SBOM,
        "config": described("application/vnd.oci.empty.v1+json", b"{}"), "layers": [described(SBOM, sbom)],
        "subject": subject,
    });
    registry.add_manifest("blog", MANIFEST, refers.to_string().as_bytes(), "sbom");
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
    let digest = registry.add_manifest("blog", INDEX, index.to_string().as_bytes(), "v1");
    (registry, digest)
}

/// A folder, and a login of Docker's for the registry.
fn place(registry: &FakeRegistry) -> Place {
    let place = Place::new();
    // `user:secret`
    let config = json!({ "auths": { registry.host(): { "auth": "dXNlcjpzZWNyZXQ=" } } });
    std::fs::write(place.home().join("config.json"), config.to_string()).unwrap();
    place
}

async fn image(place: &Place, words: &[&str]) -> Said {
    let words: Vec<String> = std::iter::once("image")
        .chain(words.iter().copied())
        .map(str::to_owned)
        .collect();
    let words_again = words.clone();
    let mut command = place.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    command.env("DOCKER_CONFIG", place.home());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    Said::of(&words_again.iter().map(String::as_str).collect::<Vec<_>>(), &output)
}

#[tokio::test]
async fn what_an_image_says_of_itself() {
    let (registry, index) = registry().await;
    let place = place(&registry);
    let blog = format!("{}/blog:v1", registry.host());
    let said = image(&place, &["inspect", &blog]).await.ended(0);
    let said = said
        .prints(index.as_str())
        .prints("command     gunicorn blog.wsgi")
        .prints("user        10001:10001");
    assert!(
        !said.out.contains("hunter2"),
        "values of variables are not shown: {}",
        said.out
    );
    assert_eq!(said.err, "", "there is nothing to wait for");

    let json = image(&place, &["inspect", &blog, "--platform", "linux/arm64", "--json"])
        .await
        .ended(0)
        .json();
    let facts = json.last().unwrap();
    assert_eq!(facts["platform"], "linux/arm64");
    assert_eq!(
        (&facts["env"], &facts["labels"]),
        (&json!(["PATH", "TOKEN"]), &json!({ "app": "blog" }))
    );
    let made_by: Vec<&Value> = facts["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["made_by"])
        .collect();
    assert_eq!(made_by, ["the base", "code"]);

    let layers = image(&place, &["layers", &blog, "--json"]).await.ended(0).json();
    assert_eq!(
        layers
            .iter()
            .map(|layer| layer["size"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [13, 5]
    );
    image(&place, &["layers", &blog]).await.ended(0).prints("the base");

    let sbom = format!("{}/blog:amd64", registry.host());
    let said = image(&place, &["sbom", &sbom]).await.ended(0);
    assert_eq!(said.out, "{\"bomFormat\":\"CycloneDX\"}\n");
    let none = format!("{}/blog:arm64", registry.host());
    image(&place, &["sbom", &none])
        .await
        .ended(3)
        .tells("no bill of materials belongs to");
}

#[tokio::test]
async fn an_image_is_copied_as_it_is() {
    let (registry, index) = registry().await;
    let place = place(&registry);
    let from = format!("{}/blog:v1", registry.host());
    let folder = format!("oci:{}", place.home().join("images").display());
    let to_folder = format!("{folder}:v1");
    image(&place, &["copy", &from, &to_folder]).await.ended(0).tells("sent");
    let again = image(&place, &["copy", &from, &to_folder]).await.ended(0);
    again.tells("all there already");
    image(&place, &["inspect", &to_folder])
        .await
        .ended(0)
        .prints(index.as_str());

    // And back, beside the first.
    let live = format!("{}/live/blog:v1", registry.host());
    let said = image(&place, &["copy", &folder, &live, "--json"]).await.ended(0);
    let data: Vec<Value> = said.json().into_iter().filter(|line| line["event"] == "data").collect();
    assert_eq!(data[0]["value"], index.as_str());
    assert_eq!(registry.tag("live/blog", "v1").unwrap(), index);
    assert_eq!(registry.inconsistencies(), [""; 0]);
}

#[tokio::test]
async fn what_is_no_image_is_said() {
    let (registry, _) = registry().await;
    let place = place(&registry);
    let host = registry.host();
    let folder = format!("oci:{}", place.home().join("images").display());
    let (v1, named) = (format!("{host}/blog:v1"), format!("{folder}:v1"));
    image(&place, &["copy", &v1, &named]).await.ended(0);
    for (words, code, text) in [
        (vec!["inspect", "UPPER"], 3, "is no image"),
        (vec!["inspect", &format!("{host}/blog:v9")], 3, "there is no image"),
        (vec!["inspect", &format!("{folder}:v9")], 3, "it holds v1"),
        (vec!["inspect", "oci:/nonexistent"], 1, "OCI image layout"),
        (
            vec!["inspect", &v1, "--platform", "linux/s390x"],
            1,
            "it is for linux/amd64, linux/arm64",
        ),
        (vec!["copy", &v1, "docker:blog"], 3, "docker pull"),
        (
            vec!["copy", &v1, &format!("{host}/live@{}", Digest::of(b"x"))],
            3,
            "names a digest",
        ),
        (
            vec!["copy", &format!("{host}/blog:v9"), &named],
            1,
            "failed to find the image v9",
        ),
        (vec!["sbom", &named], 3, "is in no registry"),
    ] {
        image(&place, &words).await.ended(code).tells(text);
    }
    // Without the login.
    std::fs::remove_file(place.home().join("config.json")).unwrap();
    let said = image(&place, &["inspect", &v1]).await.ended(1);
    said.tells("authentication required").tells("hint: ");
}
