//! `epitome extract-document`, by which the program reads a document in a child process.

use clap::Args;
use epitome_documents::isolated::child_main;

/// Read a document from standard input within limits
#[derive(Args)]
pub(crate) struct Arguments {
    /// What is asked, as JSON
    request: String,
}

/// Returns the code to exit with.
pub(crate) fn run(arguments: &Arguments) -> u8 {
    child_main(&arguments.request)
}
