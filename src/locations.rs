//! Sources and outputs as users type them: paths, addresses on S3, models of the Hugging Face hub.

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "aws")]
use epitome_aws::S3Uri;
#[cfg(feature = "hub")]
use epitome_export::hub_cache::ModelId;

/// Prefix of addresses on S3.
#[cfg(not(feature = "aws"))]
const S3: &str = "s3://";
/// Prefix of addresses of models of the hub.
const HUB: &str = "hf://";
/// Prefix of the address of a model's page.
#[cfg(feature = "hub")]
const PAGE: &str = "https://huggingface.co/";

/// The source of a model, or the destination of a bundle.
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
    /// Parses `text`. A path that begins with `s3://` can be written as `./s3://`.
    pub(crate) fn parse(text: &'a Path) -> Result<Self> {
        match text.to_str() {
            #[cfg(feature = "aws")]
            Some(uri) if uri.starts_with(S3Uri::SCHEME) => Ok(Self::S3(uri.parse()?)),
            #[cfg(feature = "hub")]
            Some(uri) if uri.starts_with(HUB) || uri.starts_with(PAGE) => {
                Ok(Self::Hub(hub_id(uri)?))
            }
            #[cfg(not(feature = "aws"))]
            Some(uri) if uri.starts_with(S3) => Err(left_out(uri, "aws")),
            #[cfg(not(feature = "hub"))]
            Some(uri) if uri.starts_with(HUB) => Err(left_out(uri, "hub")),
            _ => Ok(Self::Path(text)),
        }
    }
}

#[cfg(not(all(feature = "aws", feature = "hub")))]
fn left_out(uri: &str, feature: &str) -> anyhow::Error {
    let message =
        format!("{uri} cannot be reached: this epitome was built without the feature '{feature}'");
    crate::failure::Usage(message).into()
}

/// Parses the name of a model of the hub, with or without `hf://`, or the address of its page.
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
