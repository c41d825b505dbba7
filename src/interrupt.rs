//! Ctrl-C and SIGTERM: long work stops at the next safe point and leaves nothing half done.

use std::sync::atomic::{AtomicBool, Ordering};

use epitome_runtime::scratch;

/// Whether work is going on that wants to stop by itself.
static WATCHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C removes temporary folders and files before it ends the process.
pub(crate) fn clean_up() {
    // It fails only where the handler is set already.
    let _ = ctrlc::set_handler(|| {
        let asked_before = REQUESTED.swap(true, Ordering::Relaxed);
        if asked_before || !WATCHED.load(Ordering::Relaxed) {
            scratch::remove_all();
            std::process::exit(130);
        }
    });
}

/// From now on the first Ctrl-C only asks to stop; a second one ends the process at once.
pub(crate) fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
    clean_up();
}

/// The work is done: Ctrl-C ends the process again.
pub(crate) fn release() {
    WATCHED.store(false, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Does work that stops by itself when Ctrl-C is pressed.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> T {
    watch();
    let result = work();
    release();
    result
}
