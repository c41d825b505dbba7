//! A reader that reports how far it is.

use std::io::{self, Read};

use epitome_runtime::Progress;

use crate::Error;

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
