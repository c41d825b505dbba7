//! Locations of the entries of a zip archive without compression.
//!
//! Only the features that `torch.save` uses are read: one disk, no encryption, no compression, and
//! zip64 for sizes and offsets beyond 4 GB. The format is PKWARE's `APPNOTE.TXT`, whose section
//! numbers are given. The crate `zip` also knows the locations of contents. But it makes several
//! strings and vectors for each entry before a limit can be set, and lets the last of two entries
//! of one name win. This reader has a limited number of entries, which borrow from the mapped file.

use std::collections::HashMap;
use std::ops::Range;

/// Signature of a local file header (4.3.7), the begin of an archive.
pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";

/// Size of the fixed part of the end record (4.3.16).
const END_SIZE: usize = 22;

/// Limit of entries. A checkpoint has one for each tensor.
const MAX_ENTRIES: usize = 1 << 20;

/// The directory of an archive.
pub(super) struct Zip<'a> {
    bytes: &'a [u8],
    entries: HashMap<&'a str, Entry>,
    names: Vec<&'a str>,
}

#[derive(Clone, Copy)]
struct Entry {
    flags: u16,
    method: u16,
    size: u64,
    stored: u64,
    header: u64,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Zip<'a> {
    /// Reads the central directory at the end of `bytes`.
    pub(super) fn open(bytes: &'a [u8]) -> Parsed<Self> {
        let directory = directory(bytes)?;
        let mut rest =
            Fields { bytes: bytes.get(directory).ok_or("has a directory beyond its end")? };
        let mut zip = Self { bytes, entries: HashMap::new(), names: Vec::new() };
        while !rest.bytes.is_empty() {
            let (name, entry) = central_header(&mut rest)?;
            // Entries whose names are not UTF-8 are never needed.
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            if zip.entries.insert(name, entry).is_some() {
                return Err("has two entries of the same name");
            }
            zip.names.push(name);
            if zip.names.len() > MAX_ENTRIES {
                return Err("has more entries than any checkpoint");
            }
        }
        Ok(zip)
    }

    /// The names of the entries, in the directory's order.
    pub(super) fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Location of the contents of the entry `name`; `None` if there is no such entry.
    pub(super) fn range(&self, name: &str) -> Parsed<Option<Range<usize>>> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        if entry.flags & 1 != 0 {
            return Err("has an encrypted entry");
        }
        if entry.method != 0 || entry.size != entry.stored {
            return Err("has a compressed entry, where torch.save stores them as they are");
        }
        // The local header repeats the name and has an extra field of another length, with which
        // torch aligns the contents. So only the local header gives their location.
        let header = usize::try_from(entry.header).map_err(|_| "has an entry beyond its end")?;
        let mut local =
            Fields { bytes: self.bytes.get(header..).ok_or("has an entry beyond its end")? };
        if local.take(4)? != LOCAL {
            return Err("has an entry without a header");
        }
        local.take(22)?;
        let name_and_extra = usize::from(local.u16()?) + usize::from(local.u16()?);
        local.take(name_and_extra)?;
        let start = self.bytes.len() - local.bytes.len();
        let size = usize::try_from(entry.size).map_err(|_| "has an entry beyond its end")?;
        local.take(size)?;
        Ok(Some(start..start + size))
    }

    /// Contents of the entry `name`; `None` if there is no such entry.
    pub(super) fn contents(&self, name: &str) -> Parsed<Option<&'a [u8]>> {
        Ok(self.range(name)?.map(|range| &self.bytes[range]))
    }
}

/// Location of the central directory, from the end record (4.3.16) or its zip64 form (4.3.14).
fn directory(bytes: &[u8]) -> Parsed<Range<usize>> {
    // A comment of up to 64 KB follows the end record, which gives its length.
    const CUT: &str = "is cut short or damaged (no zip directory at its end): fetch it again";
    let last = bytes.len().checked_sub(END_SIZE).ok_or(CUT)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let at = (first..=last)
        .rev()
        .find(|&at| {
            bytes[at..].starts_with(END)
                && usize::from(u16::from_le_bytes([bytes[at + 20], bytes[at + 21]])) == last - at
        })
        .ok_or(CUT)?;
    let mut end = Fields { bytes: &bytes[at + 12..] };
    let (mut size, mut offset) = (u64::from(end.u32()?), u64::from(end.u32()?));

    // A zip64 locator, if there is one, precedes the end record. It is needed if a value is
    // maximal.
    if let Some(locator) = at.checked_sub(20)
        && bytes[locator..].starts_with(LOCATOR64)
    {
        let mut locator = Fields { bytes: &bytes[locator + 8..] };
        let end64 = usize::try_from(locator.u64()?).map_err(|_| CUT)?;
        let mut end64 = Fields { bytes: bytes.get(end64..).ok_or(CUT)? };
        if end64.take(4)? != END64 {
            return Err(CUT);
        }
        end64.take(36)?;
        (size, offset) = (end64.u64()?, end64.u64()?);
    }
    let stop = offset.checked_add(size).filter(|&stop| stop <= at as u64).ok_or(CUT)?;
    // Both fit: `stop` is no larger than an index into `bytes`.
    Ok(offset as usize..stop as usize)
}

/// One entry of the central directory (4.3.12): its name and its data.
fn central_header<'a>(fields: &mut Fields<'a>) -> Parsed<(&'a [u8], Entry)> {
    if fields.take(4)? != CENTRAL {
        return Err("has a damaged directory");
    }
    fields.take(4)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(8)?;
    let (mut stored, mut size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let lengths = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
    fields.take(8)?;
    let mut header = u64::from(fields.u32()?);
    let name = fields.take(lengths[0])?;
    let mut extra = Fields { bytes: fields.take(lengths[1])? };
    fields.take(lengths[2])?;

    // The zip64 field (4.5.3) holds the values that are maximal above, in this order.
    while extra.bytes.len() >= 4 {
        let (id, length) = (extra.u16()?, usize::from(extra.u16()?));
        let mut field = Fields { bytes: extra.take(length)? };
        if id == 1 {
            for value in [&mut size, &mut stored, &mut header] {
                if *value == u64::from(u32::MAX) {
                    *value = field.u64()?;
                }
            }
        }
    }
    Ok((name, Entry { flags, method, size, stored, header }))
}

/// Little-endian fields, one after another.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or("has a damaged directory")?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or("has a damaged directory")?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Parsed<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
