//! Downloads of objects from S3, and uploads of bundles.
//!
//! An object is fetched in ranges, several at a time, all of the same version (`If-Match`). After a
//! broken connection the rest of a range is requested again. The result is compared with the
//! checksum that S3 stores.
//!
//! A bundle is uploaded as a `model.tar.gz` with its files at the top, which is packed during the
//! upload. The object appears complete, or not at all.

mod answer;
mod archive;
mod checksum;
mod client;
mod download;
mod listing;
mod object;
mod small;
mod upload;

pub use archive::Destination;
pub use client::S3;
pub use download::Download;
pub use listing::{Found, Listed};
pub use object::Object;
