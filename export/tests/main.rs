//! What the export makes of files, in one program.

mod adapters;
mod checkpoint;
mod hostile;
mod names;
mod source;
