//! Ctrl-C, SIGTERM and SIGHUP: long work stops at the next safe point and leaves nothing half done;
//! all else ends at once, and its temporary folders and files with it.

use std::sync::atomic::{AtomicBool, Ordering};

use epitome_endpoint::signals;
use epitome_runtime::scratch;

use crate::failure::INTERRUPTED;

/// Whether work is going on that wants to stop by itself.
static WATCHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C removes temporary folders and files before it ends the process.
pub(crate) fn clean_up() {
    // Where it fails, the handler is set already, or Ctrl-C ends the process without it.
    let _ = signals::on_stop(|| {
        let asked_before = REQUESTED.swap(true, Ordering::Relaxed);
        if asked_before || !WATCHED.load(Ordering::Relaxed) {
            scratch::remove_all_and_exit(INTERRUPTED.into());
        }
    });
}

/// From now on the first Ctrl-C only asks to stop; a second one ends the process at once.
pub(crate) fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Does work that stops by itself when Ctrl-C is pressed.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> T {
    watch();
    let result = work();
    WATCHED.store(false, Ordering::Relaxed);
    result
}
