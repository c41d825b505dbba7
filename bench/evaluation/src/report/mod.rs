//! What is left of a sweep: a table for the terminal, a page, and files for other programs.

mod figures;
mod files;
mod html;
mod table;

pub use figures::{overview, tradeoff};
pub use files::{replace, write};
pub use html::page;
pub use table::table;
