//! Compressed blocks of the layers that are kept: a layer that changed in one place is compressed there alone.
//!
//! The blocks are not kept a second time. What is kept is where in a layer's file each one stands.
//!
//! Invariant: what is given out is the compressed form of exactly this block, whatever the files hold: it is unpacked and
//! compared. Only what was written with the same [`FORMAT`](crate::gzip::FORMAT) is looked at.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use nuages_model::Digest;

use crate::gzip::Place;

/// A larger layer is no code that somebody edits; there is one small file for each of its blocks.
const MOST: usize = 256;

/// Where compressed blocks stand.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// A file for each block, named after its checksum and length.
    pub(crate) folder: PathBuf,
    /// The layers, each in a file named after its digest.
    pub(crate) blobs: PathBuf,
}

impl Members {
    fn note(&self, crc: u32, length: usize) -> PathBuf {
        self.folder.join(format!("{crc:08x}-{length}"))
    }

    /// The member that this block became when it was compressed before.
    pub(crate) fn recall(&self, block: &[u8], crc: u32) -> Option<Vec<u8>> {
        let note = fs::read_to_string(self.note(crc, block.len())).ok()?;
        let mut words = note.split(' ');
        let digest: Digest = words.next()?.parse().ok()?;
        let (at, size) = (words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
        // No member is much longer than its block.
        if size > block.len() + block.len() / 8 + 1024 {
            return None;
        }
        let mut file = File::open(self.blobs.join(digest.hex())).ok()?;
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut member = vec![0; size];
        file.read_exact(&mut member).ok()?;
        is_of(&member, block).then_some(member)
    }

    /// Notes where the blocks of a layer stand. What cannot be noted is compressed again.
    pub(crate) fn remember(&self, layer: &Digest, places: &[Place]) {
        if places.len() > MOST {
            return;
        }
        for place in places {
            let note = format!("{layer} {} {}", place.at, place.size);
            let _ = fs::write(self.note(place.crc, place.length), note);
        }
    }
}

fn is_of(member: &[u8], block: &[u8]) -> bool {
    let mut left = block;
    let mut decoder = MultiGzDecoder::new(member);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return left.is_empty(),
            Ok(read) => match left.strip_prefix(&buffer[..read]) {
                Some(rest) => left = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::BlobStore;
    use crate::gzip::Compressor;

    /// Four blocks and a piece, of text as code is.
    fn text() -> Vec<u8> {
        let lines =
            (0..40_000_u32).map(|n| format!("    assert view({n}) == {}\n", n.wrapping_mul(2_654_435_761) >> 12));
        lines.collect::<String>().into_bytes()
    }

    fn compressed(store: &BlobStore, content: &[u8]) -> (usize, usize, nuages_model::Digest) {
        let mut compressor = Compressor::with(Vec::new(), Some(store.members()));
        compressor.write_all(content).unwrap();
        let (done, _) = compressor.finish().unwrap();
        (done.recalled, done.places.len(), done.digest)
    }

    fn alone(content: &[u8]) -> nuages_model::Digest {
        let mut compressor = Compressor::new(Vec::new());
        compressor.write_all(content).unwrap();
        compressor.finish().unwrap().0.digest
    }

    #[test]
    fn a_changed_line_compresses_its_block_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let mut content = text();
        let (layer, _) = store
            .write_layer(|writer| {
                writer.write_all(&content).unwrap();
                Ok(())
            })
            .unwrap();
        let (recalled, all, digest) = compressed(&store, &content);
        assert_eq!((recalled, digest), (all, layer.digest.clone()));
        assert!(all > 4, "{all}");

        content[300_000] ^= 1;
        let (recalled, _, digest) = compressed(&store, &content);
        assert_eq!(recalled, all - 1);
        assert_eq!(digest, alone(&content), "as if nothing were known");

        // What the file holds is looked at, not believed.
        content[300_000] ^= 1;
        let path = store.path(&layer.digest);
        let mut file = std::fs::read(&path).unwrap();
        let middle = file.len() / 2;
        file[middle] ^= 0xff;
        std::fs::write(&path, &file).unwrap();
        let (recalled, _, digest) = compressed(&store, &content);
        assert_eq!((recalled, digest), (all - 1, layer.digest.clone()));
        std::fs::write(&path, &file[..10]).unwrap();
        assert_eq!(compressed(&store, &content), (0, all, layer.digest.clone()));
        for note in std::fs::read_dir(store.members().folder).unwrap() {
            std::fs::write(note.unwrap().path(), format!("{} 0 99999999999999", layer.digest)).unwrap();
        }
        assert_eq!(compressed(&store, &content), (0, all, layer.digest));
    }
}
