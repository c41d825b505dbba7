//! Files and bundles of this machine, sent to S3.

use std::path::Path;

use anyhow::Result;
use epitome_export::fetch::S3Uri;
use epitome_runtime::bundle::{Bundle, MANIFEST, digest};

use crate::failure::Usage;
use crate::interrupt;
use crate::places;
use crate::progress::StageBar;

/// Digits that tell a bundle from others.
const DIGITS: usize = 8;

/// Puts a file at an address, in place of what was there.
pub(crate) fn file(path: &Path, uri: &S3Uri) -> Result<()> {
    let s3 = places::s3()?;
    shown(|progress| Ok(s3.put_file(path, uri, progress)?))
}

/// Where below a prefix the bundle in a folder belongs: in a folder that is named after what the bundle holds, so that no
/// endpoint ever finds another one at the address that it was given.
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

/// Puts the bundle in a folder at its [`address`], unless it is there.
pub(crate) fn bundle(folder: &Path, address: &S3Uri) -> Result<()> {
    let s3 = places::s3()?;
    let destination = s3.destination(address, &())?;
    if destination.has_bundle() {
        eprintln!("{address} is there already");
        return Ok(());
    }
    Bundle::open(folder)?.check()?;
    shown(|progress| Ok(s3.put_bundle(folder, &destination, progress)?))
}

/// Sends with a bar; Ctrl-C leaves nothing behind.
fn shown(send: impl FnOnce(&StageBar) -> Result<()>) -> Result<()> {
    interrupt::watch();
    let progress = StageBar::new();
    let result = send(&progress);
    progress.clear();
    interrupt::release();
    result
}
