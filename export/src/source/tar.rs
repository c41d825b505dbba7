//! Reads the entries of a tar stream.
//!
//! The formats are POSIX's `ustar` and `pax` and GNU's long names. The `tar` crate decodes headers,
//! but this file iterates over the entries: the crate reads long names and pax headers of any size
//! into memory, and its raw iterator ignores sizes in pax headers, which files beyond 8 GB have.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read};

use tar::{EntryType, Header, PaxExtensions};

/// Size of a header, and alignment of contents.
const BLOCK: u64 = 512;

/// A file with holes, which the archive does not store.
const SPARSE: &str = "a sparse file";

/// Limit in bytes of a pax header.
const MAX_PAX: u64 = 1 << 20;

/// Limit in bytes of an entry's path or link target: `PATH_MAX` of Linux.
pub(super) const MAX_PATH: u64 = 4096;

/// Kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A symbolic link, relative to the entry's folder.
    SymbolicLink(Vec<u8>),
    /// A hard link, relative to the archive's root.
    HardLink(Vec<u8>),
    /// A device, a pipe, a sparse file, or a kind that ordinary archives do not have, as text.
    Other(&'static str),
}

/// The header of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
}

/// Why reading the stream failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The reader failed. A truncated stream gives `UnexpectedEof`.
    Read(io::Error),
    /// The first block is no tar header.
    NotTar,
    /// A later block is malformed.
    Damaged(String),
    /// A name or header is too large.
    TooLong(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A reader of a tar stream.
pub(super) struct TarStream<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Unread bytes of the current entry's contents, with padding.
    contents: u64,
    padding: u64,
    headers: u64,
}

/// Data of extended headers for the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    sparse_name: Option<Vec<u8>>,
}

impl<R: Read> TarStream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; 256 << 10], contents: 0, padding: 0, headers: 0 }
    }

    /// Number of headers so far, extended ones included.
    pub(super) fn headers(&self) -> u64 {
        self.headers
    }

    /// The next entry. `None` at the end of the archive, which is a block of zeros or, as in
    /// Python's `tarfile`, the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block)? {
                return Ok(None);
            }
            // Two blocks of zeros end an archive. As in other readers, one is enough.
            if block.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if !has_valid_sum(header) {
                return Err(match self.headers {
                    0 => Fault::NotTar,
                    _ => Fault::Damaged("a header's checksum is wrong".to_owned()),
                });
            }
            self.headers += 1;
            let size = header
                .entry_size()
                .map_err(|_| Fault::Damaged("a header's size is not a number".to_owned()))?;
            match header.entry_type() {
                EntryType::GNULongName => extended.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => extended.link = Some(self.long_name(size)?),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                // A global header describes the whole archive, for example with a comment. It is
                // not needed.
                EntryType::XGlobalHeader => {
                    if size > MAX_PAX {
                        return Err(Fault::TooLong(format!("has a header of {size} bytes")));
                    }
                    self.expect(size)?;
                }
                _ => return self.entry(header, size, extended).map(Some),
            }
        }
    }

    /// Passes the rest of the current entry's contents to `out`, piece by piece.
    pub(super) fn contents<X: From<Fault>>(
        &mut self,
        mut out: impl FnMut(&[u8]) -> Result<(), X>,
    ) -> Result<(), X> {
        while self.contents > 0 {
            let count = self.piece(self.contents)?;
            self.contents -= count as u64;
            out(&self.buffer[..count])?;
        }
        Ok(())
    }

    /// Reads to the end of the stream, so that a checksum there is verified, and returns the
    /// reader.
    pub(super) fn finish(mut self) -> Result<R, Fault> {
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Ok(self.reader),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extended: Extended) -> Result<Entry, Fault> {
        let path = extended
            .sparse_name
            .or(extended.path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended
            .link
            .or_else(|| header.link_name_bytes().map(Cow::into_owned))
            .unwrap_or_default();
        if path.len() as u64 > MAX_PATH {
            return Err(Fault::TooLong(format!(
                "has an entry with a name of {} bytes",
                path.len()
            )));
        }
        let kind = match header.entry_type() {
            _ if extended.sparse => Kind::Other(SPARSE),
            // Archives from before POSIX mark a folder only by the slash.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::SymbolicLink(link),
            EntryType::Link => Kind::HardLink(link),
            EntryType::Char | EntryType::Block => Kind::Other("a device"),
            EntryType::Fifo => Kind::Other("a pipe"),
            EntryType::GNUSparse => Kind::Other(SPARSE),
            _ => Kind::Other("of an unknown kind"),
        };
        // A folder, a link or a device has no contents, whatever its size.
        let size = match (&kind, header.entry_type()) {
            (_, EntryType::Char | EntryType::Block | EntryType::Fifo) => 0,
            (Kind::File | Kind::Other(_), _) => extended.size.unwrap_or(size),
            _ => 0,
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.skip_sparse_map(header)?;
        }
        self.expect(size)?;
        Ok(Entry { path, kind, size })
    }

    /// Reads a block. Returns false if the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<bool, Fault> {
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 && self.headers > 0 => return Ok(false),
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Skips the blocks of a long map behind the header of a sparse file.
    fn skip_sparse_map(&mut self, header: &Header) -> Result<(), Fault> {
        let mut more = header.as_gnu().is_some_and(|header| header.isextended[0] == 1);
        while more {
            let mut block = [0; BLOCK as usize];
            self.reader.read_exact(&mut block)?;
            // A block has 21 entries of 24 bytes, then a flag for another block.
            more = block[504] == 1;
        }
        Ok(())
    }

    /// Sets the number of bytes of contents, with their padding.
    fn expect(&mut self, size: u64) -> Result<(), Fault> {
        let padded = size
            .checked_next_multiple_of(BLOCK)
            .ok_or_else(|| Fault::Damaged(format!("an entry claims to have {size} bytes")))?;
        (self.contents, self.padding) = (size, padded - size);
        Ok(())
    }

    /// Skips the rest of the current entry.
    fn skip(&mut self) -> Result<(), Fault> {
        self.contents += std::mem::take(&mut self.padding);
        self.contents(|_| Ok(()))
    }

    /// Reads up to `max` bytes into the buffer. The stream may not end here.
    fn piece(&mut self, max: u64) -> Result<usize, Fault> {
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(self.buffer.len());
        loop {
            match self.reader.read(&mut self.buffer[..max]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Contents of a small entry that describes the next one.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        self.expect(size)?;
        self.contents(|piece| {
            all.extend_from_slice(piece);
            Ok::<_, Fault>(())
        })?;
        Ok(all)
    }

    /// Reads a GNU long name: the contents up to a zero byte.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > MAX_PATH + 1 {
            return Err(Fault::TooLong(format!("has an entry with a name of {size} bytes")));
        }
        let mut name = self.small(size)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// Reads a pax header: records of a length, a key and a value.
    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<(), Fault> {
        if size > MAX_PAX {
            return Err(Fault::TooLong(format!("has a header of {size} bytes")));
        }
        let records = self.small(size)?;
        let malformed = || Fault::Damaged("a pax header is malformed".to_owned());
        for record in PaxExtensions::new(&records) {
            let record = record.map_err(|_| malformed())?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => extended.path = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    extended.size = Some(size.ok_or_else(malformed)?);
                }
                key if key.starts_with(b"GNU.sparse") => {
                    extended.sparse = true;
                    if key == b"GNU.sparse.name" {
                        extended.sparse_name = Some(value.to_vec());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether `block` is a tar header, by its checksum.
pub(super) fn is_header(block: &[u8]) -> bool {
    block.len() == BLOCK as usize && has_valid_sum(Header::from_byte_slice(block))
}

/// Whether the checksum of a header is right. It is the sum of all bytes, with spaces in place of
/// the checksum.
fn has_valid_sum(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|&byte| u32::from(byte)).sum();
    header.cksum().is_ok_and(|stored| stored == sum + 8 * u32::from(b' '))
}
