//! Reading in a child process with limits of memory and time.
//!
//! A parser that a hostile file makes recurse or allocate without end takes down its process. Here
//! that is a child: it reads the file on its standard input, sets its own limits before the first
//! byte, and answers on its standard output. Whatever happens to it, the caller gets an
//! [`Error`](crate::Error) that names the file, and never holds more than the answer, which is
//! bounded.
//!
//! The child is the same program, called with a subcommand that passes its argument to
//! [`child_main`]. On Linux and other Unix systems the limit of memory is one of address space; on
//! Windows the child has a limit of time only.

mod child;
mod extractor;
mod request;

pub use child::child_main;
pub use extractor::{Extractor, running_program};
pub use request::Limits;
