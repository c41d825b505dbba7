//! The log on standard error: text lines in a terminal, JSON lines elsewhere.

use std::io::{IsTerminal, stderr};

pub use tracing::Level;

/// Starts the log of this process, unless it has one.
pub fn start(level: Level) {
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(stderr);
    // An error means that the process already has a log.
    let _ = if stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).with_span_list(false).try_init()
    };
}
