//! Layers are compressed here so that the same content gives the same bytes on every machine: a digest that two machines
//! share is sent once.
//!
//! A compressor's output depends on how its input arrives, so the input is cut into blocks of a fixed size, and each is
//! compressed in one call into a gzip member of its own (RFC 1952, section 2.2: a file is a series of members). That costs
//! less than a hundredth in size, and the blocks are compressed side by side. A block that was compressed before is not
//! compressed again.
//!
//! Invariant: the output depends on the input and on [`FORMAT`] alone.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use nuages_model::{Digest, Sha256};

use crate::members::Members;

/// Names all that decides the output. It changes with the block size, the level, or the compressor's output.
pub(crate) const FORMAT: &str = "gzip6-256k-1";

const BLOCK: usize = 256 * 1024;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// The digest of the input.
    pub(crate) diff_id: Digest,
    /// The digest of the output.
    pub(crate) digest: Digest,
    /// The length of the output.
    pub(crate) size: u64,
    /// Where each block's member stands in the output.
    pub(crate) places: Vec<Place>,
    /// So many of them were compressed before.
    pub(crate) recalled: usize,
}

/// Where a block's member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The checksum of the block,
    pub(crate) crc: u32,
    /// and its length.
    pub(crate) length: usize,
    pub(crate) at: u64,
    pub(crate) size: u64,
}

/// A block's member.
struct Member {
    content: Vec<u8>,
    crc: u32,
    length: usize,
    recalled: bool,
}

type Job = (Vec<u8>, SyncSender<Member>);

/// Compresses what is written to it.
pub(crate) struct Compressor<W> {
    output: W,
    block: Vec<u8>,
    /// Whether anything was compressed. Even nothing is one member: a file without any is no gzip file.
    any: bool,
    workers: Workers,
    waiting: VecDeque<Receiver<Member>>,
    diff: Sha256,
    hash: Sha256,
    size: u64,
    places: Vec<Place>,
    recalled: usize,
}

impl<W: Write> Compressor<W> {
    #[cfg(test)]
    pub(crate) fn new(output: W) -> Self {
        Self::with(output, None)
    }

    /// With members that were made before.
    pub(crate) fn with(output: W, members: Option<Members>) -> Self {
        Self {
            output,
            block: Vec::with_capacity(BLOCK),
            any: false,
            workers: Workers {
                members: members.map(Arc::new),
                threads: None,
            },
            waiting: VecDeque::new(),
            diff: Sha256::new(),
            hash: Sha256::new(),
            size: 0,
            places: Vec::new(),
            recalled: 0,
        }
    }

    /// What is left, and what it all became.
    pub(crate) fn finish(mut self) -> io::Result<(Compressed, W)> {
        if !self.block.is_empty() || !self.any {
            let block = std::mem::take(&mut self.block);
            self.diff.update(&block);
            if self.waiting.is_empty() {
                let member = made(&block, self.workers.members.as_deref());
                self.put(&member)?;
            } else {
                self.hand_on(block)?;
            }
        }
        while let Some(oldest) = self.waiting.pop_front() {
            self.put_next(&oldest)?;
        }
        self.output.flush()?;
        let done = Compressed {
            diff_id: self.diff.finish(),
            digest: self.hash.finish(),
            size: self.size,
            places: self.places,
            recalled: self.recalled,
        };
        Ok((done, self.output))
    }

    fn hand_on(&mut self, block: Vec<u8>) -> io::Result<()> {
        self.any = true;
        let answer = self.workers.take_on(block)?;
        self.waiting.push_back(answer);
        while self.waiting.len() > self.workers.count() * 2
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.put_next(&oldest)?;
        }
        Ok(())
    }

    fn put_next(&mut self, answer: &Receiver<Member>) -> io::Result<()> {
        let member = answer.recv().map_err(|_| ended_early())?;
        self.put(&member)
    }

    fn put(&mut self, member: &Member) -> io::Result<()> {
        let size = member.content.len() as u64;
        self.places.push(Place {
            crc: member.crc,
            length: member.length,
            at: self.size,
            size,
        });
        self.recalled += usize::from(member.recalled);
        self.hash.update(&member.content);
        self.size += size;
        self.output.write_all(&member.content)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let taken = content.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&content[..taken]);
        if self.block.len() == BLOCK {
            let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
            self.diff.update(&block);
            self.hand_on(block)?;
        }
        Ok(taken)
    }

    /// A block is compressed when it is whole, and not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Threads that compress; they begin with the first block, and end when nobody gives them any more.
struct Workers {
    members: Option<Arc<Members>>,
    threads: Option<(usize, SyncSender<Job>)>,
}

impl Workers {
    fn count(&self) -> usize {
        self.threads.as_ref().map_or(1, |(count, _)| *count)
    }

    fn take_on(&mut self, block: Vec<u8>) -> io::Result<Receiver<Member>> {
        let members = &self.members;
        let (_, jobs) = self.threads.get_or_insert_with(|| {
            let count = std::thread::available_parallelism().map_or(2, usize::from).min(8);
            let (jobs, queue) = sync_channel::<Job>(count);
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..count {
                let (queue, members) = (Arc::clone(&queue), members.clone());
                std::thread::spawn(move || work(&queue, members.as_deref()));
            }
            (count, jobs)
        });
        let (answer, result) = sync_channel(1);
        jobs.send((block, answer)).map_err(|_| ended_early())?;
        Ok(result)
    }
}

fn work(queue: &Mutex<Receiver<Job>>, members: Option<&Members>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, answer)) = job else { return };
        // Nobody waits any more when writing failed.
        let _ = answer.send(made(&block, members));
    }
}

fn ended_early() -> io::Error {
    io::Error::other("the compressing threads ended early")
}

/// A block's member: one that was made before, or a new one.
fn made(block: &[u8], members: Option<&Members>) -> Member {
    let mut crc = Crc::new();
    crc.update(block);
    let known = members.and_then(|members| members.recall(block, crc.sum()));
    Member {
        recalled: known.is_some(),
        content: known.unwrap_or_else(|| member(block, &crc)),
        crc: crc.sum(),
        length: block.len(),
    }
}

/// One gzip member: no name, no time, no system.
fn member(block: &[u8], crc: &Crc) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::new(6), false);
    // Deflate's worst case is five bytes more for every 16 KiB, and a few at the end.
    let mut out = Vec::with_capacity(block.len() + block.len() / 1024 + 64);
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    loop {
        let taken = usize::try_from(deflate.total_in())
            .unwrap_or(usize::MAX)
            .min(block.len());
        match deflate.compress_vec(&block[taken..], &mut out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => break,
            // The room above suffices; should it not, the member is still a valid one.
            Ok(Status::Ok | Status::BufError) | Err(_) => out.reserve(BLOCK),
        }
    }
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;

    /// Gives its content in pieces of odd sizes.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let take = self.0.len().min(self.1).min(buffer.len());
            buffer[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    fn compress(mut input: impl Read, output: impl Write) -> io::Result<Compressed> {
        let mut compressor = Compressor::new(output);
        io::copy(&mut input, &mut compressor)?;
        Ok(compressor.finish()?.0)
    }

    fn compressed(content: &[u8], piece: usize) -> (Compressed, Vec<u8>) {
        let mut out = Vec::new();
        (compress(Trickle(content, piece), &mut out).unwrap(), out)
    }

    #[test]
    fn golden() {
        // An upgrade of the compressor that changes its output must change FORMAT, or caches and registries disagree.
        let content: Vec<u8> = (0..600_000u32)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes())
            .collect();
        let (done, _) = compressed(&content, usize::MAX);
        assert_eq!(done.digest.as_str(), GOLDEN);
    }

    const GOLDEN: &str = "sha256:15c28f135a6db7e3b396073272025ecf7fa1b417215930f40606c4ebe3ee0b62";

    #[test]
    fn nothing_is_a_gzip_file_too() {
        let (done, out) = compressed(b"", 1);
        assert_eq!(done.diff_id, Digest::of(b""));
        let mut back = Vec::new();
        MultiGzDecoder::new(out.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back.is_empty());
    }

    #[test]
    fn a_reader_that_fails_fails_the_whole() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        assert!(compress(io::repeat(1).take(3_000_000).chain(Broken), io::sink()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn comes_back_whole_and_does_not_depend_on_pieces(
            seed: u8, length in prop_oneof![0usize..200, Just(BLOCK), Just(BLOCK + 1), 0usize..900_000], piece in 1usize..70_000,
        ) {
            let content: Vec<u8> = (0..length).map(|n| u8::try_from(n / 7 % 256).unwrap() ^ seed).collect();
            let (done, out) = compressed(&content, piece);
            prop_assert_eq!(&done, &compressed(&content, usize::MAX).0);
            prop_assert_eq!(&done.diff_id, &Digest::of(&content));
            prop_assert_eq!(&done.digest, &Digest::of(&out));
            prop_assert_eq!(done.size, out.len() as u64);
            let mut back = Vec::new();
            MultiGzDecoder::new(out.as_slice()).read_to_end(&mut back).unwrap();
            prop_assert_eq!(back, content);
        }
    }
}
