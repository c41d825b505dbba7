//! Sources and outputs as they are typed: paths, addresses on S3, models of the Hugging Face hub.

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "aws")]
use epitome_aws::S3Uri;
use epitome_export::hub_cache::ModelId;

use crate::failure::Usage;

/// How addresses on S3 begin.
const S3: &str = "s3://";
/// How addresses of models of the hub begin.
const HUB: &str = "hf://";
/// How the page of a model begins, and what may follow its name there.
const PAGE: &str = "https://huggingface.co/";

/// Where a model comes from, or a bundle goes to.
#[derive(Clone, Debug)]
pub(crate) enum Location<'a> {
    /// On the disk.
    Path(&'a Path),
    /// An object or a prefix.
    #[cfg(feature = "aws")]
    S3(S3Uri),
    /// A model of the hub.
    #[cfg(feature = "hub")]
    Hub(ModelId),
}

impl<'a> Location<'a> {
    /// What `text` names. A path that begins with `s3://` can still be written as `./s3://`.
    pub(crate) fn parse(text: &'a Path) -> Result<Self> {
        match text.to_str() {
            #[cfg(feature = "aws")]
            Some(uri) if uri.starts_with(S3) => Ok(Self::S3(uri.parse()?)),
            #[cfg(feature = "hub")]
            Some(uri) if uri.starts_with(HUB) || uri.starts_with(PAGE) => {
                Ok(Self::Hub(hub_id(uri)?))
            }
            Some(uri) if [S3, HUB].iter().any(|scheme| uri.starts_with(scheme)) => {
                Err(Usage(format!("{uri} cannot be reached: this epitome was built without that"))
                    .into())
            }
            _ => Ok(Self::Path(text)),
        }
    }
}

/// A model of the hub, by its name, as `hf://NAME`, or by the address of its page.
#[cfg(feature = "hub")]
pub(crate) fn hub_id(text: &str) -> Result<ModelId> {
    let name = match text.strip_prefix(PAGE) {
        Some(page) => page.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/'),
        None => text.strip_prefix(HUB).unwrap_or(text),
    };
    Ok(match name.split_once("/tree/") {
        Some((name, revision)) => ModelId::new(name, Some(revision))?,
        None => name.parse()?,
    })
}
