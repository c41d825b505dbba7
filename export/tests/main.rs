//! Integration tests of the export, in one program.

mod adapters;
mod checkpoint;
mod hostile;
mod names;
mod source;
