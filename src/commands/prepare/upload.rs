//! Uploads the prepared files to S3, where a training job finds them.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use epitome_aws::S3Uri;
use epitome_export::dataset::{TRAIN, VALIDATION};

use crate::{aws, s3_upload};

/// The channels of a training job, and the file of each.
const CHANNELS: [(&str, &str); 2] = [("train", TRAIN), ("validation", VALIDATION)];

/// Flags of the upload.
#[derive(Args)]
pub(super) struct UploadFlags {
    /// Send the files to train/ and validation/ in this folder on S3: the inputs of a training job
    #[arg(long, value_name = "s3://...")]
    upload: Option<S3Uri>,
}

impl UploadFlags {
    /// Checks the credentials before the work.
    pub(super) fn check(&self) -> Result<()> {
        if self.upload.is_some() {
            aws::s3()?;
        }
        Ok(())
    }

    /// Uploads the files of the folder if that is wanted, and prints the channels of a training
    /// job.
    pub(super) fn send(&self, folder: &Path) -> Result<()> {
        let Some(prefix) = &self.upload else {
            return Ok(());
        };
        for (channel, file) in CHANNELS {
            let uri = prefix.join(channel);
            s3_upload::file(&folder.join(file), &uri.join(file))?;
            eprintln!("Sent the input {channel} = \"{uri}\"");
        }
        Ok(())
    }
}
