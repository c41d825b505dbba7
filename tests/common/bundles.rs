//! Bundles that tests share: each is made once, and no test changes it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use epitome_runtime::bundle::Precision;
use epitome_runtime::{SessionOptions, Summarizer, scratch};

use super::Exported;

/// A bundle that is made, or why there is none.
type Made = Arc<OnceLock<Result<Exported, String>>>;

static BUNDLES: LazyLock<Mutex<HashMap<(PathBuf, Precision), Made>>> = LazyLock::new(|| {
    extern "C" fn remove() {
        scratch::remove_all();
    }
    // SAFETY: the function is there for as long as the program, and does not unwind.
    unsafe { libc::atexit(remove) };
    Mutex::default()
});

/// The bundle of a source below `fixtures/`.
pub(crate) fn bundle(source: impl AsRef<Path>) -> PathBuf {
    bundle_in(source, Precision::Fp32).expect("an export")
}

/// The same, with weights of a precision, where it may fail.
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

/// A summarizer of one thread: tests run side by side.
pub(crate) fn summarizer(bundle: impl AsRef<Path>) -> Summarizer {
    with_threads(bundle, NonZeroUsize::MIN)
}

/// A summarizer of so many threads.
pub(crate) fn with_threads(bundle: impl AsRef<Path>, threads: NonZeroUsize) -> Summarizer {
    let options = SessionOptions { threads, ..SessionOptions::default() };
    Summarizer::open_with(bundle, &options).expect("a bundle")
}
