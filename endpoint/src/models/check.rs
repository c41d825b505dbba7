//! Compares the digests of a bundle's files with its manifest, slowly enough to disturb no
//! requests.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use epitome_runtime::bundle::{Bundle, digest};

/// Bytes per second that are read while the model works.
const RATE: f64 = 64e6;

/// Compares every file, as quickly as the disk allows.
pub(super) fn check(bundle: &Bundle) -> Result<(), String> {
    bundle.check().map_err(|error| error.to_string())
}

/// Compares every file at a moderate rate. Returns without a result once `stop` is set.
pub(super) fn check_slowly(bundle: &Bundle, stop: &AtomicBool) -> Result<(), String> {
    for (name, record) in &bundle.manifest().files {
        let path = bundle.path(name);
        let said = |error: &io::Error| format!("cannot use '{}': {error}", path.display());
        let file = File::open(&path).map_err(|error| said(&error))?;
        let paced = Paced { file, started: Instant::now(), bytes: 0, stop };
        let found = match digest::of(paced) {
            Ok(found) => found,
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
            Err(error) => return Err(said(&error)),
        };
        if found != record.sha256 {
            return Err(format!(
                "'{}' has SHA-256 {found} where the manifest says {}: the bundle was changed, \
                 export or copy it again",
                path.display(),
                record.sha256
            ));
        }
    }
    Ok(())
}

/// A file that is read at [`RATE`].
struct Paced<'a> {
    file: File,
    started: Instant,
    bytes: u64,
    stop: &'a AtomicBool,
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let due = Duration::from_secs_f64(self.bytes as f64 / RATE);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
        let count = self.file.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
