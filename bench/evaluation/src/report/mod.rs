//! Reports of a sweep: a table for the terminal, a page, and files for other programs.

mod elements;
mod figures;
mod files;
mod history;
mod html;
mod regression;
mod table;

pub use figures::overview;
pub use files::{replace, write};
pub(crate) use history::history;
pub use table::table;
