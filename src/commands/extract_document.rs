//! `epitome extract-document`, the child process in which the program reads a document.

use clap::Args;
use epitome_documents::isolated::child_main;

/// Read a document from standard input within limits
#[derive(Args)]
pub(crate) struct Arguments {
    /// The request, as JSON
    request: String,
}

/// Returns the exit code.
pub(crate) fn run(arguments: &Arguments) -> u8 {
    child_main(&arguments.request)
}
