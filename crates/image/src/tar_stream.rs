//! A tar that is written by a thread that may block, and read as a stream.
//!
//! Invariant: the stream holds memory for a few chunks, however much is written. Whoever reads it to an early end finds
//! the reason here.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::ImageError;

/// A tar that is being written.
#[derive(Debug)]
pub struct TarStream {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    failure: Arc<Mutex<Option<ImageError>>>,
}

/// Where a [`TarStream`] leaves the reason for its early end.
#[derive(Debug, Clone)]
pub struct TarFailure(Arc<Mutex<Option<ImageError>>>);

impl TarFailure {
    /// The reason, once.
    pub fn take(&self) -> Option<ImageError> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl TarStream {
    /// Begins to write.
    pub(crate) fn of(write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let failure = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&failure);
        tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter {
                sender,
                chunk: Vec::with_capacity(CHUNK),
            };
            let done = write(&mut writer).and_then(|()| writer.flush().map_err(ImageError::file("send", "a tar")));
            if let Err(error) = done {
                // Nobody reads any more: the reader ended first, and its own error says why.
                let gone = matches!(&error, ImageError::File { what: "send", .. });
                if !gone {
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    let _ = writer
                        .sender
                        .blocking_send(Err(std::io::Error::other("what was to be sent could not be read")));
                }
            }
        });
        Self { receiver, failure }
    }

    /// Where to look for the reason if the stream ends in an error.
    pub fn failure(&self) -> TarFailure {
        TarFailure(Arc::clone(&self.failure))
    }
}

impl futures_util::Stream for TarStream {
    type Item = std::io::Result<Bytes>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx)
    }
}

const CHUNK: usize = 128 * 1024;

struct ChunkWriter {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, content: &[u8]) -> std::io::Result<usize> {
        let take = content.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&content[..take]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}
