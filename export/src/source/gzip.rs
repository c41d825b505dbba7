//! A gzip file as Python reads it: several members, with zeros between and behind them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Decompresses all members of a gzip file (RFC 1952) as one stream.
pub(super) struct Members<R> {
    /// The current member; `None` only between members.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { member: Some(GzDecoder::new(packed)) }
    }

    /// The compressed reader.
    pub(super) fn packed(&self) -> &R {
        self.current().get_ref()
    }

    pub(super) fn into_packed(self) -> R {
        self.member.expect("a member is always there").into_inner()
    }

    fn current(&self) -> &GzDecoder<R> {
        self.member.as_ref().expect("a member is always there")
    }

    /// Begins the next member. Returns false at the end of the file.
    fn next(&mut self) -> io::Result<bool> {
        let member = self.member.as_mut().expect("a member is always there");
        let packed = member.get_mut();
        loop {
            let bytes = packed.fill_buf()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            let more = zeros < bytes.len();
            packed.consume(zeros);
            if more {
                break;
            }
        }
        self.member = self.member.take().map(|ended| GzDecoder::new(ended.into_inner()));
        Ok(true)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let member = self.member.as_mut().expect("a member is always there");
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() || !self.next()? {
                return Ok(count);
            }
        }
    }
}
