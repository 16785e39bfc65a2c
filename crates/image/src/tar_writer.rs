//! Writes a tar whose bytes depend on names, links, contents and who may execute what, and on nothing else of this machine.
//!
//! Invariant: owner, time stamps and the umask make no difference: every entry is root's, of one moment, and readable by
//! all. A file is as long as it was when it was listed, or it is an error that names it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::ImageError;

/// The one time stamp of every entry: 2 January 1980, the first day that a zip file can name in every time zone.
const MTIME: u64 = 315_619_200;

/// A tar that is being written.
pub(crate) struct TarWriter<W: Write> {
    tar: tar::Builder<W>,
    /// What an error of the far side is told to be about.
    what: PathBuf,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(writer: W, what: &Path) -> Self {
        Self {
            tar: tar::Builder::new(writer),
            what: what.to_owned(),
        }
    }

    fn sent(&self, appended: io::Result<()>) -> Result<(), ImageError> {
        appended.map_err(ImageError::file("send", &self.what))
    }

    pub(crate) fn folder(&mut self, path: &Path) -> Result<(), ImageError> {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        let appended = self.tar.append_data(&mut header, path, io::empty());
        self.sent(appended)
    }

    pub(crate) fn link(&mut self, path: &Path, target: &Path) -> Result<(), ImageError> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        let appended = self.tar.append_link(&mut header, path, target);
        self.sent(appended)
    }

    pub(crate) fn bytes(&mut self, path: &Path, content: &[u8], executable: bool) -> Result<(), ImageError> {
        let mut header = header(tar::EntryType::Regular, mode(executable), content.len() as u64);
        let appended = self.tar.append_data(&mut header, path, content);
        self.sent(appended)
    }

    /// A file of this machine, which must be of this size.
    pub(crate) fn file(&mut self, path: &Path, from: &Path, size: u64, executable: bool) -> Result<(), ImageError> {
        let mut header = header(tar::EntryType::Regular, mode(executable), size);
        let file = File::open(from).map_err(ImageError::file("read", from))?;
        let mut exact = Exact {
            file,
            left: size,
            failed: None,
        };
        let appended = self.tar.append_data(&mut header, path, &mut exact);
        match exact.failed {
            Some(Failed::Changed) => Err(ImageError::Changed { path: from.to_owned() }),
            Some(Failed::Io(error)) => Err(ImageError::file("read", from)(error)),
            None => self.sent(appended),
        }
    }

    pub(crate) fn finish(mut self) -> Result<(), ImageError> {
        let finished = self.tar.finish();
        self.sent(finished)
    }
}

fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Reads a file that must be as long as it was when it was listed.
struct Exact {
    file: File,
    left: u64,
    failed: Option<Failed>,
}

enum Failed {
    Changed,
    Io(io::Error),
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            // One byte more would be a file that grew.
            return match self.file.read(&mut [0]) {
                Ok(0) => Ok(0),
                Ok(_) => Err(self.fail(Failed::Changed)),
                Err(error) => Err(self.fail(Failed::Io(error))),
            };
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        match self.file.read(&mut buffer[..most]) {
            Ok(0) => Err(self.fail(Failed::Changed)),
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.fail(Failed::Io(error))),
        }
    }
}

impl Exact {
    fn fail(&mut self, failed: Failed) -> io::Error {
        self.failed = Some(failed);
        io::Error::other("the file could not be read as it was listed")
    }
}
