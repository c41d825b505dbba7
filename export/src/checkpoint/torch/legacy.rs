//! The format of `torch.save` before PyTorch 1.6: five pickles, then each storage as its number of
//! elements in eight bytes and its values.

use std::collections::HashMap;

use super::contents::{BIG_ENDIAN, Contents};
use super::pickle::{self, Fault};

/// Reads the state dictionary of the file `bytes`, and the locations of its storages.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let header = pickle::read_legacy(bytes)?;
    if !header.little_endian {
        return Err(Fault::Malformed(BIG_ENDIAN.to_owned()));
    }
    let mut storages = HashMap::new();
    let mut at = header.size;
    for (key, dtype, len) in header.storages {
        let cut = || Fault::Malformed("ends too early: fetch it again".to_owned());
        let rest = bytes.get(at..).ok_or_else(cut)?;
        let (count, values) = rest.split_first_chunk().ok_or_else(cut)?;
        if u64::from_le_bytes(*count) != len as u64 {
            return Err(Fault::Malformed(format!(
                "has a storage of {} elements where its pickle says {len}",
                u64::from_le_bytes(*count)
            )));
        }
        let size = len.checked_mul(dtype.size()).ok_or_else(cut)?;
        if size > values.len() {
            return Err(cut());
        }
        let start = at + count.len();
        at = start + size;
        storages.insert(key, Ok(start..at));
    }
    Ok((header.tensors, storages))
}
