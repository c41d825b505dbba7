//! The lock of the bundle that threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use epitome_runtime::Summarizer;

/// Locks the bundle. A call that panicked has left no state in it.
pub(crate) fn lock(summarizer: &Mutex<Summarizer>) -> MutexGuard<'_, Summarizer> {
    summarizer.lock().unwrap_or_else(PoisonError::into_inner)
}
