//! Exports from and to paths and addresses, for the commands.

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "hub")]
use anyhow::bail;
use epitome_export::ExportOptions;
use epitome_export::source::Origin;
#[cfg(feature = "hub")]
use epitome_hub::download::{Hub, HubModel};
use epitome_runtime::bundle::Manifest;
#[cfg(feature = "aws")]
use epitome_runtime::scratch;

#[cfg(feature = "hub")]
use crate::failure::Usage;
use crate::locations::Location;
use crate::progress::with_bar;

/// Exports with a progress bar; Ctrl-C leaves nothing behind.
pub(crate) fn export(
    source: &Path,
    base: Option<&Path>,
    output: &Path,
    options: ExportOptions<'_>,
) -> Result<Manifest> {
    with_bar(|progress| export_quietly(source, base, output, ExportOptions { progress, ..options }))
}

/// Exports without a progress bar. `options.progress` still receives the progress.
pub(crate) fn export_quietly(
    source: &Path,
    base: Option<&Path>,
    output: &Path,
    options: ExportOptions<'_>,
) -> Result<Manifest> {
    let source = origin(source)?;
    let base = base.map(base_origin).transpose()?;
    let options = ExportOptions { base: base.as_deref(), ..options };
    match Location::parse(output)? {
        Location::Path(folder) => Ok(epitome_export::export(&*source, folder, &options)?),
        #[cfg(feature = "aws")]
        Location::S3(uri) => export_to_s3(&*source, &uri, &options),
        #[cfg(feature = "hub")]
        Location::Hub(id) => bail!(Usage(format!(
            "nothing is written to the hub: give a folder in place of hf://{id}"
        ))),
    }
}

/// Opens a path or an address.
fn origin(text: &Path) -> Result<Box<dyn Origin + '_>> {
    Ok(match Location::parse(text)? {
        Location::Path(path) => Box::new(path),
        #[cfg(feature = "aws")]
        Location::S3(uri) => Box::new(crate::s3_source::S3Source { s3: crate::aws::s3()?, uri }),
        #[cfg(feature = "hub")]
        Location::Hub(id) => Box::new(HubModel { hub: Hub::from_env()?, id, with_base: true }),
    })
}

/// Opens the base model of an adapter. A name that is no path is one of the hub.
pub(crate) fn base_origin(text: &Path) -> Result<Box<dyn Origin + '_>> {
    #[cfg(feature = "hub")]
    if !text.exists()
        && let Some(Ok(id)) = text.to_str().map(str::parse)
    {
        return Ok(Box::new(HubModel { hub: Hub::from_env()?, id, with_base: false }));
    }
    origin(text)
}

/// Exports to a temporary folder, and sends the bundle.
#[cfg(feature = "aws")]
fn export_to_s3(
    source: &dyn Origin,
    uri: &epitome_aws::S3Uri,
    options: &ExportOptions<'_>,
) -> Result<Manifest> {
    let s3 = crate::aws::s3()?;
    // Finds a wrong destination before the work.
    let destination = s3.destination(uri, options.progress)?;
    let scratch = scratch::Folder::new(".epitome-bundle-")?;
    let bundle = scratch.path().join("bundle");
    let manifest = epitome_export::export(source, &bundle, options)?;
    s3.put_bundle(&bundle, &destination, options.progress)?;
    Ok(manifest)
}
