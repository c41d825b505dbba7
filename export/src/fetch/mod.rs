//! Artifacts from S3, and bundles to it.
//!
//! A [`Model`] on S3 is opened like one on the disk: an object is taken for a `model.tar.gz` and
//! unpacked while it arrives, without being kept; a prefix is taken for a checkpoint folder, of
//! which only the files that a conversion reads are fetched. Objects come in ranges, several at a
//! time, all of one version (`If-Match`), taken up again where a connection breaks, and are held
//! against the checksum that S3 stores.
//!
//! A bundle goes to S3 as a `model.tar.gz` with its files at the top, packed while it is sent. The
//! object appears when it is whole, or not at all.
//!
//! Credentials, region and endpoint are found as all AWS tools find them.
//!
//! ```no_run
//! # fn main() -> epitome_export::Result<()> {
//! use epitome_export::{ExportOptions, export, fetch::S3};
//!
//! let s3 = S3::connect()?;
//! let model = s3.model("s3://bucket/job/output/model.tar.gz".parse()?);
//! export(&model, "models/mine".as_ref(), &ExportOptions::default())?;
//! # Ok(())
//! # }
//! ```

mod bundle;
mod checksum;
mod download;
mod error;
mod model;
mod object;
mod s3;
mod upload;
mod uri;

pub use bundle::Destination;
pub use error::Error;
pub use model::Model;
pub use s3::S3;
pub use uri::S3Uri;
