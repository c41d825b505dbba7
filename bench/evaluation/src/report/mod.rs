//! Reports of a sweep: a table for the terminal, a page, and files for other programs.

mod figures;
mod files;
mod html;
mod table;

pub use figures::overview;
pub use files::{replace, write};
pub use table::table;
