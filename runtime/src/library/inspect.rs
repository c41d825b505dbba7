//! A look at a library file before it is loaded for good: loading a damaged one could end the
//! process, or leave a version in place that cannot run the graphs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::LibraryError;
use super::platform::MINIMUM_MINOR;

/// The version of the library, as `1.31`, when it is whole and new enough. (The library says no
/// more.)
pub(super) fn version(path: &Path) -> Result<String, LibraryError> {
    let broken =
        |problem: &str| LibraryError::Broken { path: path.into(), problem: problem.into() };
    let bytes = path.metadata().map_err(|error| broken(&error.to_string()))?.len();
    if elf_is_cut(path, bytes) {
        return Err(broken("it is cut or damaged"));
    }
    let minor = ort::util::probe(path).ok_or_else(|| broken("it cannot be loaded"))?;
    if minor < MINIMUM_MINOR {
        return Err(LibraryError::TooOld { path: path.into(), found: format!("1.{minor}") });
    }
    Ok(format!("1.{minor}"))
}

/// Whether the file is a 64-bit ELF object that ends before its section table, which linkers put
/// last: the loader would map what is not there, and the process would die of a bus error.
fn elf_is_cut(path: &Path, bytes: u64) -> bool {
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
