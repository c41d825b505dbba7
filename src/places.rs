//! Sources and outputs as they are typed: paths, or addresses on S3.

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "aws")]
use epitome_export::fetch::{S3, S3Uri};

/// Where a model comes from, or a bundle goes to.
#[derive(Clone, Debug)]
pub(crate) enum Place<'a> {
    /// On the disk.
    Path(&'a Path),
    /// An object or a prefix.
    #[cfg(feature = "aws")]
    S3(S3Uri),
}

impl<'a> Place<'a> {
    /// What `text` names. A path that begins with `s3://` can still be written as `./s3://`.
    pub(crate) fn of(text: &'a Path) -> Result<Self> {
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

/// The connection of this command to S3, made when it is first needed.
#[cfg(feature = "aws")]
pub(crate) fn s3() -> Result<&'static S3> {
    use std::sync::OnceLock;

    static CONNECTION: OnceLock<S3> = OnceLock::new();
    match CONNECTION.get() {
        Some(connection) => Ok(connection),
        None => {
            let connection = S3::connect()?;
            Ok(CONNECTION.get_or_init(|| connection))
        }
    }
}
