//! A reader that reports its progress.

use std::io::{self, Read};

use epitome_runtime::Progress;

use crate::Error;

/// A reader that reports its progress. If the user cancels, it fails with [`Error::Interrupted`]
/// inside its [`io::Error`].
pub(crate) struct ProgressReader<'a, R> {
    reader: R,
    progress: &'a dyn Progress,
}

impl<'a, R> ProgressReader<'a, R> {
    pub(crate) fn new(reader: R, progress: &'a dyn Progress) -> Self {
        Self { reader, progress }
    }
}

impl<R: Read> Read for ProgressReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other(Error::Interrupted));
        }
        let count = self.reader.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
