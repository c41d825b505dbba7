//! Objects from S3, and bundles to it.
//!
//! An object is fetched in ranges, several at a time, all of one version (`If-Match`). After a
//! broken connection the rest of a range is requested. The whole is compared with the checksum that
//! S3 stores.
//!
//! A bundle goes to S3 as a `model.tar.gz` with its files at the top, packed while it is sent. The
//! object appears when it is whole, or not at all.

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
