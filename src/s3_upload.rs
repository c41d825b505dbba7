//! Uploads of local files and bundles to S3.

use std::path::Path;

use anyhow::Result;
use epitome_aws::S3Uri;
use epitome_runtime::bundle::{Bundle, MANIFEST, digest};

use crate::aws;
use crate::failure::Usage;
use crate::progress::with_bar;

/// Number of digits of the digest in the name of an uploaded bundle.
const DIGITS: usize = 8;

/// Uploads a file, and replaces an existing object.
pub(crate) fn file(path: &Path, uri: &S3Uri) -> Result<()> {
    let s3 = aws::s3()?;
    Ok(with_bar(|progress| s3.put_file(path, uri, progress))?)
}

/// The address below a prefix for the bundle in a folder. The name contains a digest of the bundle,
/// so that an endpoint never finds another bundle at its address.
pub(crate) fn address(bundle: &Path, prefix: &S3Uri) -> Result<S3Uri> {
    let is_address = |path: &str| path.starts_with(S3Uri::SCHEME);
    if bundle.to_str().is_some_and(is_address) {
        return Err(Usage(format!(
            "--upload sends a bundle of this machine, and {} is on S3 already: leave it out",
            bundle.display()
        ))
        .into());
    }
    let bundle = Bundle::open(bundle)?;
    let manifest = std::fs::read(bundle.path(MANIFEST))?;
    let folder = &digest::bytes(&manifest)[..DIGITS];
    Ok(prefix.join(folder).join("model.tar.gz"))
}

/// Uploads the bundle in a folder to its [`address`], unless it is there.
pub(crate) fn bundle(folder: &Path, address: &S3Uri) -> Result<()> {
    let s3 = aws::s3()?;
    let destination = s3.destination(address, &())?;
    if destination.has_bundle() {
        eprintln!("{address} is there already");
        return Ok(());
    }
    Bundle::open(folder)?.check()?;
    let sent = with_bar(|progress| s3.put_bundle(folder, &destination, progress));
    Ok(sent?)
}
