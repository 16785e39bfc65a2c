//! Pushes a folder as an image of one layer, and reads its manifest back:
//! `cargo run -p nuages-registry --example push_a_folder -- FOLDER localhost:5000 NAME TAG`

use std::process::Command;

use bytes::Bytes;
use nuages_model::{Blob, BlobSink, Descriptor, Digest, Progress};
use nuages_registry::{Credentials, Options, Registry, manifest::OCI_MANIFEST};
use serde_json::json;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program, not the library")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, host, name, tag] = words.as_slice() else {
        return Err("FOLDER HOST NAME TAG".into());
    };
    let layer = Bytes::from(
        Command::new("tar")
            .args(["-C", folder.as_str(), "-c", "."])
            .output()?
            .stdout,
    );
    let config = Bytes::from(
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}})
            .to_string(),
    );
    let repository = Registry::new(host, Credentials::Anonymous, Options::default())?.repository(name);
    let describe = |kind: &str, content: &Bytes| Descriptor {
        media_type: format!("application/vnd.oci.image.{kind}"),
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    let (config_is, layer_is) = (describe("config.v1+json", &config), describe("layer.v1.tar", &layer));
    for (descriptor, content) in [(&config_is, config), (&layer_is, layer)] {
        repository
            .put_blob(descriptor, Blob::Bytes(content), &Progress::none())
            .await?;
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_is, "layers": [layer_is]});
    let digest = repository
        .put_manifest(OCI_MANIFEST, manifest.to_string().into(), tag)
        .await?;
    println!("{host}/{name}@{digest}: {:?}", repository.manifest(tag).await?.blobs()?);
    Ok(())
}
