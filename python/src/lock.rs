//! The bundle that threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use epitome_runtime::Summarizer;

/// The bundle; a call that panicked has left nothing in it.
pub(crate) fn lock(summarizer: &Mutex<Summarizer>) -> MutexGuard<'_, Summarizer> {
    summarizer.lock().unwrap_or_else(PoisonError::into_inner)
}
