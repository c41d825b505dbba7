//! Sources and outputs as they are typed: paths, or addresses on S3.

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "aws")]
use epitome_aws::S3Uri;

/// Where a model comes from, or a bundle goes to.
#[derive(Clone, Debug)]
pub(crate) enum Location<'a> {
    /// On the disk.
    Path(&'a Path),
    /// An object or a prefix.
    #[cfg(feature = "aws")]
    S3(S3Uri),
}

impl<'a> Location<'a> {
    /// What `text` names. A path that begins with `s3://` can still be written as `./s3://`.
    pub(crate) fn parse(text: &'a Path) -> Result<Self> {
        match text.to_str() {
            #[cfg(feature = "aws")]
            Some(uri) if uri.starts_with(S3Uri::SCHEME) => Ok(Self::S3(uri.parse()?)),
            #[cfg(not(feature = "aws"))]
            Some(uri) if uri.starts_with("s3://") => Err(crate::failure::Usage(format!(
                "{uri} cannot be reached: this epitome was built without the feature 'aws'"
            ))
            .into()),
            _ => Ok(Self::Path(text)),
        }
    }
}
