//! Ctrl-C, SIGTERM and SIGHUP. Long work stops at the next safe point and leaves no partial output.
//! Other work ends at once, and its temporary folders and files are removed.

use std::sync::atomic::{AtomicBool, Ordering};

use epitome_endpoint::signals;
use epitome_runtime::scratch;

use crate::failure::INTERRUPTED;

/// Whether the current work stops by itself.
static WATCHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C remove temporary folders and files before it ends the process.
pub(crate) fn clean_up() {
    // Setting the handler fails where one is set already. Without one, Ctrl-C just ends the
    // process.
    let _ = signals::on_stop(|| {
        let asked_before = REQUESTED.swap(true, Ordering::Relaxed);
        if asked_before || !WATCHED.load(Ordering::Relaxed) {
            scratch::remove_all_and_exit(INTERRUPTED.into());
        }
    });
}

/// Makes the first Ctrl-C only ask to stop. A second one ends the process at once.
pub(crate) fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Runs work that stops by itself when Ctrl-C is pressed.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> T {
    watch();
    let result = work();
    WATCHED.store(false, Ordering::Relaxed);
    result
}
