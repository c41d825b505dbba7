//! Documents of many formats to text and sections.
//!
//! [`read`] tells the format by the content and gives the text with the title, the headings and the
//! page numbers that the format has. It trusts its input: a hostile file may exhaust the memory or
//! the stack of the parser. [`isolated::Extractor`] reads in a child process with limits, and is
//! what programs should use:
//!
//! ```no_run
//! use epitome_documents::isolated::Extractor;
//!
//! let extractor = Extractor::of_this_program()?;
//! for document in extractor.read_file("report.pdf".as_ref())? {
//!     println!("{}: {} words", document.format, document.words());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "zip")]
mod archive;
mod builder;
mod detect;
mod document;
#[cfg(feature = "docx")]
mod docx;
#[cfg(feature = "email")]
mod email;
mod encoding;
#[cfg(feature = "epub")]
mod epub;
mod error;
#[cfg(feature = "html")]
mod html;
pub mod isolated;
#[cfg(feature = "markdown")]
mod markdown;
#[cfg(feature = "odt")]
mod odt;
mod options;
#[cfg(any(feature = "docx", feature = "odt", feature = "rtf"))]
mod paragraphs;
#[cfg(feature = "pdf")]
mod pdf;
mod plain;
mod read;
#[cfg(feature = "rtf")]
mod rtf;
#[cfg(feature = "subtitles")]
mod subtitles;
#[cfg(feature = "tables")]
mod table;
#[cfg(feature = "xml")]
mod xml;

pub use document::{Document, Format, Section};
pub use error::{Error, ErrorKind};
pub use options::Options;
pub use read::read;
