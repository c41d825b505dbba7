//! How long work tells what it is doing, and learns that it should stop.

use std::io::{self, Read};

use crate::Error;

/// Receives the progress of long work, and says whether it should stop.
///
/// `()` is the one that shows nothing and never stops.
pub trait Progress: Sync {
    /// A new piece of work begins: what it is, and the bytes it will go through.
    fn start(&self, what: &str, total_bytes: u64);
    /// The same for work whose measure is a number of things, not of bytes.
    fn start_counted(&self, what: &str, total: u64) {
        self.start(what, total);
    }
    /// So many more bytes, or things, are done.
    fn advance(&self, bytes: u64);
    /// Whether the user asked to stop; looked at every few megabytes at least.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {
    fn start(&self, _what: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
}

/// A reader that reports how far it is, and stops when the user asks for it: with
/// [`Error::Interrupted`] inside its [`io::Error`].
pub(crate) struct Reported<'a, R> {
    reader: R,
    progress: &'a dyn Progress,
}

impl<'a, R> Reported<'a, R> {
    pub(crate) fn new(reader: R, progress: &'a dyn Progress) -> Self {
        Self { reader, progress }
    }
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other(Error::Interrupted));
        }
        let count = self.reader.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
