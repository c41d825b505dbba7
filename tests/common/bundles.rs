//! Bundles that tests share. Each is exported once, and no test changes it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use epitome_runtime::bundle::Precision;
use epitome_runtime::{SessionOptions, Summarizer, scratch};

use super::Exported;

/// An exported bundle, or an error.
type Made = Arc<OnceLock<Result<Exported, String>>>;

static BUNDLES: LazyLock<Mutex<HashMap<(PathBuf, Precision), Made>>> = LazyLock::new(|| {
    extern "C" fn remove() {
        scratch::remove_all();
    }
    // SAFETY: the function exists as long as the program, and does not unwind.
    unsafe { libc::atexit(remove) };
    Mutex::default()
});

/// The bundle of a source below `fixtures/`.
pub(crate) fn bundle(source: impl AsRef<Path>) -> PathBuf {
    bundle_in(source, Precision::Fp32).expect("an export")
}

/// The bundle of a source below `fixtures/` with the given precision, or the error of its export.
pub(crate) fn bundle_in(source: impl AsRef<Path>, precision: Precision) -> Result<PathBuf, String> {
    let source = source.as_ref();
    let made = {
        let mut bundles = BUNDLES.lock().unwrap_or_else(PoisonError::into_inner);
        bundles.entry((source.to_owned(), precision)).or_default().clone()
    };
    let export = || Exported::with_precision(source, precision).map_err(|error| error.to_string());
    match made.get_or_init(export) {
        Ok(exported) => Ok(exported.path().to_owned()),
        Err(error) => Err(error.clone()),
    }
}

/// A summarizer with one thread, because tests run in parallel.
pub(crate) fn summarizer(bundle: impl AsRef<Path>) -> Summarizer {
    with_threads(bundle, NonZeroUsize::MIN)
}

/// A summarizer with the given number of threads.
pub(crate) fn with_threads(bundle: impl AsRef<Path>, threads: NonZeroUsize) -> Summarizer {
    let options = SessionOptions { threads, ..SessionOptions::default() };
    Summarizer::open_with(bundle, &options).expect("a bundle")
}
