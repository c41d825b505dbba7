//! Checks of a library file before it is loaded. A damaged file could end the process, and an old
//! version cannot run the graphs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::LibraryError;
use super::platform::MINIMUM_MINOR;

/// The version of the library, such as `1.31`. The library gives no patch version.
pub(super) fn version(path: &Path) -> Result<String, LibraryError> {
    let broken =
        |problem: &str| LibraryError::Broken { path: path.into(), problem: problem.into() };
    let bytes = path.metadata().map_err(|error| broken(&error.to_string()))?.len();
    if is_truncated_elf(path, bytes) {
        return Err(broken("it is cut or damaged"));
    }
    let minor = ort::util::probe(path).ok_or_else(|| broken("it cannot be loaded"))?;
    if minor < MINIMUM_MINOR {
        return Err(LibraryError::TooOld { path: path.into(), found: format!("1.{minor}") });
    }
    Ok(format!("1.{minor}"))
}

/// Whether the file is a truncated 64-bit ELF object. Linkers put the section table last, so the
/// file must not end before it. Loading a truncated file ends the process with a bus error.
fn is_truncated_elf(path: &Path, bytes: u64) -> bool {
    let mut header = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return false;
    }
    let number = |at: usize, size: usize| {
        header[at..at + size].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let (table, entry, count) = (number(40, 8), number(58, 2), number(60, 2));
    table.saturating_add(entry * count) > bytes
}
