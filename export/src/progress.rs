//! How long work tells what it is doing, and learns that it should stop.

/// Receives the progress of long work, and says whether it should stop.
///
/// `()` is the one that shows nothing and never stops.
pub trait Progress: Sync {
    /// A new piece of work begins: what it is, and the bytes it will go through.
    fn start(&self, what: &str, total_bytes: u64);
    /// The same for work whose measure is a number of things, not of bytes.
    fn start_counted(&self, what: &str, total: u64) {
        self.start(what, total);
    }
    /// So many more bytes, or things, are done.
    fn advance(&self, bytes: u64);
    /// Whether the user asked to stop; looked at every few megabytes at least.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {
    fn start(&self, _what: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
}
