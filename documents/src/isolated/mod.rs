//! Reads documents in a child process with limits of memory and time.
//!
//! A hostile file can make a parser recurse or allocate without end, which ends its process. Here
//! that process is a child. It reads the file on its standard input, sets its own limits before the
//! first byte, and answers on its standard output. Whatever happens to it, the caller gets an
//! [`Error`](crate::Error) that names the file. The caller's memory holds only the answer, whose
//! size is limited.
//!
//! The child is the same program, called with a subcommand that passes its argument to
//! [`child_main`]. On Linux and other Unix systems the memory limit is a limit of address space. On
//! Windows the child only has a time limit.

mod child;
mod extractor;
mod request;

pub use child::child_main;
pub use extractor::{Extractor, running_program};
pub use request::Limits;
