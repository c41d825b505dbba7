//! The container of a model in SageMaker: the flags that `deploy` and `transform` share.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use epitome_aws::{ModelSpec, Network, S3Uri, image};

use super::key_values::key_value;
use crate::failure::Usage;
use crate::{aws, model_choice, s3_upload};

/// Flags of the container and its permissions.
#[derive(Args)]
#[command(next_help_heading = "Container")]
pub(super) struct ContainerFlags {
    /// Upload the bundle to this S3 folder first, in a subfolder that is named after the bundle's
    /// content
    #[arg(long, value_name = "s3://...")]
    upload: Option<S3Uri>,
    /// URI of the image in ECR [default: the one that `epitome image --push` makes, in the role's
    /// account]
    #[arg(long, value_name = "URI", env = "EPITOME_IMAGE")]
    image: Option<String>,
    /// ARN of the role that the container runs as
    #[arg(long, value_name = "ARN", env = "SAGEMAKER_ROLE")]
    role: String,
    /// An environment variable of the container; may come several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = key_value)]
    environment: Vec<(String, String)>,
    /// Subnets and security groups of the network that the container runs in
    #[arg(long, value_name = "subnet-...,sg-...")]
    vpc: Option<Network>,
    /// Let the container reach nothing, not even S3
    #[arg(long)]
    enable_network_isolation: bool,
}

/// A model, and the local bundle that is uploaded for it.
pub(super) struct Container {
    pub(super) model: ModelSpec,
    upload: Option<(PathBuf, S3Uri)>,
}

impl ContainerFlags {
    /// The containers of the models. Each model is a `model.tar.gz` on S3, or with `--upload` a
    /// local bundle.
    pub(super) fn containers(&self, models: &[&str]) -> Result<Vec<Container>> {
        if let Some(prefix) = &self.upload
            && let Some(first) = models.first()
            && models.iter().all(|model| model.starts_with(S3Uri::SCHEME))
        {
            // Fails where there is nothing to send.
            s3_upload::address(Path::new(first), prefix)?;
        }
        models.iter().map(|model| self.container(model)).collect()
    }

    fn container(&self, model: &str) -> Result<Container> {
        let is_local = !model.starts_with(S3Uri::SCHEME);
        let upload = match self.upload.as_ref().filter(|_| is_local) {
            Some(prefix) => {
                let folder = model_choice::locate(Path::new(model))?;
                let address = s3_upload::address(&folder, prefix)?;
                Some((folder, address))
            }
            None => None,
        };
        let data = upload.as_ref().map_or_else(|| model.to_owned(), |(_, uri)| uri.to_string());
        let model = ModelSpec {
            image: self.image()?,
            data,
            role: self.role.clone(),
            environment: self.environment.iter().cloned().collect(),
            network: self.vpc.clone(),
            network_isolation: self.enable_network_isolation,
        };
        Ok(Container { model, upload })
    }

    fn image(&self) -> Result<String> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let region = aws::connection()?.region()?;
        let uri = image::default_uri(&self.role, region);
        Ok(uri.ok_or_else(|| {
            Usage("give --image: the role does not say in whose account one is".into())
        })?)
    }
}

impl Container {
    /// Sends the bundle, if it is local and not on S3 yet.
    pub(super) fn send(&self) -> Result<()> {
        self.upload.as_ref().map_or(Ok(()), |(folder, uri)| s3_upload::bundle(folder, uri))
    }
}
