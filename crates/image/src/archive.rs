//! The archive in which an engine gives an image out, in each of its layouts.
//!
//! Invariant: what is kept of an archive has the digest that it is kept under. Memory holds documents and no layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use nuages_model::{Descriptor, Digest};
use serde::Deserialize;

use crate::error::is_full;
use crate::export::Layer;
use crate::{BlobStore, ImageError};

/// Documents in the stream (configurations, manifests) are read up to here.
const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;

/// What was taken out of an archive.
pub(crate) struct Saved {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: BTreeMap<Digest, Layer>,
}

/// One of `docker save`'s own lists of what its archive holds.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Reads the archive in either layout. Up to Docker 24 a layer is `ID/layer.tar`, which does not say its digest; later
/// a layer is `blobs/sha256/HEX`, uncompressed, or compressed where containerd keeps the images.
pub(crate) fn read_save(
    mut archive: tar::Archive<impl Read>,
    image: &str,
    store: &BlobStore,
    wanted: &BTreeSet<Digest>,
) -> Result<Saved, ImageError> {
    let refuse = |why: String| ImageError::Export {
        image: image.to_owned(),
        why,
    };
    let broken = |error: std::io::Error| refuse(error.to_string());
    let mut documents = BTreeMap::new();
    let mut layers: BTreeMap<Digest, Layer> = BTreeMap::new();
    // Compressed layers as containerd keeps them, by their name in the archive.
    let mut compressed: BTreeMap<String, Descriptor> = BTreeMap::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        let digest: Option<Digest> = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(diff_id) = digest.as_ref().filter(|digest| wanted.contains(digest)) {
            let made = store.put_layer(&mut entry, diff_id)?;
            let made = made.ok_or_else(|| refuse(format!("{name} is not what its name says")))?;
            layers.insert(diff_id.clone(), layer(store, made, diff_id.clone()));
        } else if digest.is_none()
            && std::path::Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "tar")
        {
            if store
                .archived_layer(&name, size)
                .is_some_and(|diff_id| !wanted.contains(&diff_id))
            {
                continue;
            }
            // Which layer it is shows only when it was read once.
            let spooled = spool(&mut entry, store).map_err(|error| {
                if is_full(&error) {
                    ImageError::file("keep layers in", store.folder())(error)
                } else {
                    broken(error)
                }
            })?;
            store.remember_archived(&name, size, &spooled.diff_id)?;
            if wanted.contains(&spooled.diff_id) && !layers.contains_key(&spooled.diff_id) {
                let file = std::fs::File::open(&spooled.path).map_err(ImageError::file("read", &spooled.path))?;
                let made = store.put_layer(file, &spooled.diff_id)?;
                let made = made.ok_or_else(|| ImageError::Changed {
                    path: spooled.path.to_path_buf(),
                })?;
                layers.insert(spooled.diff_id.clone(), layer(store, made, spooled.diff_id.clone()));
            }
        } else if size <= LARGEST_DOCUMENT {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            if let Some(digest) = digest
                && let Some(media_type) = compression(&content)
            {
                store.put_exact(content.as_slice(), &digest)?;
                compressed.insert(
                    name.clone(),
                    Descriptor {
                        media_type: media_type.into(),
                        digest,
                        size,
                    },
                );
            }
            documents.insert(name, content);
        } else if let Some(digest) = digest {
            let mut start = [0; 4];
            let read = read_full(&mut entry, &mut start).map_err(broken)?;
            if let Some(media_type) = compression(&start[..read])
                && store.put_exact(start[..read].chain(&mut entry), &digest)?
            {
                compressed.insert(
                    name,
                    Descriptor {
                        media_type: media_type.into(),
                        digest,
                        size,
                    },
                );
            }
        }
    }
    let list = documents
        .get("manifest.json")
        .ok_or_else(|| refuse("the archive has no manifest.json".into()))?;
    let list: Vec<Listed> = serde_json::from_slice(list).map_err(|error| refuse(format!("manifest.json: {error}")))?;
    let listed = list
        .into_iter()
        .next()
        .ok_or_else(|| refuse("manifest.json lists nothing".into()))?;
    let config = documents
        .remove(&listed.config)
        .ok_or_else(|| refuse(format!("{} is missing", listed.config)))?;
    let diff_ids = diff_ids(&config).map_err(|error| refuse(format!("{}: {error}", listed.config)))?;
    for (diff_id, name) in diff_ids.iter().zip(&listed.layers) {
        if wanted.contains(diff_id)
            && !layers.contains_key(diff_id)
            && let Some(descriptor) = compressed.get(name)
        {
            layers.insert(diff_id.clone(), layer(store, descriptor.clone(), diff_id.clone()));
        }
    }
    Ok(Saved { config, layers })
}

fn layer(store: &BlobStore, descriptor: Descriptor, diff_id: Digest) -> Layer {
    Layer {
        file: Some(store.path(&descriptor.digest)),
        descriptor,
        diff_id,
    }
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config).map(|config| config.rootfs.diff_ids)
}

/// A compressed layer's media type, by its first bytes.
fn compression(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(&[0x1f, 0x8b]) {
        Some(crate::store::LAYER)
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some("application/vnd.oci.image.layer.v1.tar+zstd")
    } else {
        None
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

struct Spooled {
    path: tempfile::TempPath,
    diff_id: Digest,
}

/// Writes a layer to a file beside the store's others, and says which it is.
fn spool(from: &mut impl Read, store: &BlobStore) -> std::io::Result<Spooled> {
    use std::io::Write as _;
    let mut file = store.temporary()?;
    let mut hash = nuages_model::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
    file.flush()?;
    Ok(Spooled {
        path: file.into_temp_path(),
        diff_id: hash.finish(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
        serde_json::to_vec(&serde_json::json!({"rootfs": {"type": "layers", "diff_ids": ids}})).unwrap()
    }

    fn read(archive: &[u8], wanted: &[&[u8]]) -> (Result<Saved, ImageError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let wanted = wanted.iter().map(|layer| Digest::of(layer)).collect();
        (read_save(tar::Archive::new(archive), "x", &store, &wanted), folder)
    }

    #[test]
    fn both_layouts_give_the_same_layers() {
        let (base, code) = (b"base layer".as_slice(), b"code layer".as_slice());
        let config = config(&[base, code]);
        let hex = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
        let legacy = archive(&[
            ("aaa/VERSION", b"1.0"),
            ("aaa/json", b"{}"),
            ("aaa/layer.tar", code),
            ("bbb/layer.tar", base),
            ("c.json", &config),
            (
                "manifest.json",
                br#"[{"Config":"c.json","RepoTags":null,"Layers":["bbb/layer.tar","aaa/layer.tar"]}]"#,
            ),
        ]);
        let list = format!(
            r#"[{{"Config":"{}","Layers":["{}","{}"]}}]"#,
            hex(&config),
            hex(base),
            hex(code)
        );
        let oci = archive(&[
            (&hex(base), base),
            (&hex(code), code),
            (&hex(&config), &config),
            ("index.json", b"{}"),
            ("manifest.json", list.as_bytes()),
        ]);
        let (legacy, _one) = read(&legacy, &[base, code]);
        let (oci, _two) = read(&oci, &[base, code]);
        let (legacy, oci) = (legacy.unwrap(), oci.unwrap());
        assert_eq!(legacy.config, config);
        assert_eq!(oci.config, config);
        let digests = |saved: &Saved| {
            saved
                .layers
                .values()
                .map(|layer| layer.descriptor.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(digests(&legacy).len(), 2);
        assert_eq!(digests(&legacy), digests(&oci));
    }

    #[test]
    fn a_known_layer_of_an_archive_is_passed_over() {
        let (known, new) = (b"known layer".as_slice(), b"new layer".as_slice());
        let config = config(&[known, new]);
        let list = br#"[{"Config":"c.json","Layers":["aaa/layer.tar","bbb/layer.tar"]}]"#;
        let archive = |first: &[u8]| {
            archive(&[
                ("aaa/layer.tar", first),
                ("bbb/layer.tar", new),
                ("c.json", &config),
                ("manifest.json", list),
            ])
        };
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let read = |content: &[u8], wanted: &[&[u8]]| {
            let wanted = wanted.iter().map(|layer| Digest::of(layer)).collect();
            read_save(tar::Archive::new(content), "x", &store, &wanted)
                .unwrap()
                .layers
                .into_keys()
                .collect::<Vec<_>>()
        };
        assert!(read(&archive(known), &[]).is_empty());
        let name = "aaa/layer.tar";
        assert_eq!(store.archived_layer(name, known.len() as u64), Some(Digest::of(known)));
        assert_eq!(store.archived_layer(name, 1), None, "another length is another layer");
        // It is known and not wanted, so its content is not looked at; what is wanted is read all the same.
        assert_eq!(read(&archive(&vec![b'?'; known.len()]), &[new]), [Digest::of(new)]);
        assert_eq!(read(&archive(known), &[known]), [Digest::of(known)]);
    }

    #[test]
    fn compressed_layers_are_kept_as_they_are() {
        let layer = b"layer".as_slice();
        let mut compressor = crate::gzip::Compressor::new(Vec::new());
        std::io::Write::write_all(&mut compressor, layer).unwrap();
        let (_, gz) = compressor.finish().unwrap();
        let config = config(&[layer]);
        let name = format!("blobs/sha256/{}", Digest::of(&gz).hex());
        let list = format!(r#"[{{"Config":"c.json","Layers":["{name}"]}}]"#);
        let (saved, _folder) = read(
            &archive(&[(&name, &gz), ("c.json", &config), ("manifest.json", list.as_bytes())]),
            &[layer],
        );
        let saved = saved.unwrap();
        assert_eq!(saved.layers[&Digest::of(layer)].descriptor.digest, Digest::of(&gz));
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = archive(&[("a/layer.tar", &[7; 2000]), ("manifest.json", b"[]")]);
        for cut in [0, 100, 512, 700, 1500, 2600, whole.len()] {
            assert!(read(&whole[..cut], &[]).0.is_err(), "{cut}");
        }
        let lie = archive(&[
            (&format!("blobs/sha256/{}", Digest::of(b"a").hex()), b"b"),
            ("manifest.json", b"[]"),
        ]);
        assert!(read(&lie, &[b"a"]).0.is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(nuages_testkit::fuzz::cases(128)))]
        /// What an engine gives out is not believed: of anything else only the right layers are kept.
        #[test]
        fn damaged_archives_are_read_or_refused(damage: u64, at in 0..3_usize) {
            let layer = b"layer".as_slice();
            let config = config(&[layer]);
            let list = br#"[{"Config":"c.json","Layers":["aaa/layer.tar"]}]"#;
            let mut files: [(&str, Vec<u8>); 3] =
                [("aaa/layer.tar", layer.to_vec()), ("c.json", config), ("manifest.json", list.to_vec())];
            files[at].1 = nuages_testkit::fuzz::spoil(damage, &files[at].1);
            let whole = archive(&files.each_ref().map(|(name, content)| (*name, content.as_slice())));
            let (_, folder) = read(&whole, &[layer]);
            let store = BlobStore::open(folder.path()).unwrap();
            if let Some(kept) = store.layer(&Digest::of(layer)) {
                prop_assert!(store.has(&kept.digest));
            }
            let _ = read(&nuages_testkit::fuzz::spoil(damage, &whole), &[layer]);
        }
    }
}
