//! What is left of a sweep: a table for the terminal, a page, and files for other programs.

mod figures;
mod files;
mod html;
mod table;

pub use figures::{overview, tradeoff};
pub(crate) use files::replace;
pub use files::write;
pub use html::page;
pub use table::table;
