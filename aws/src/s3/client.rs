//! The client of S3.

use std::env;
use std::time::Duration;

use aws_config::Region;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use epitome_runtime::Progress;
use tokio::runtime::Runtime;

use super::answer::Request;
use crate::connection::Connection;
use crate::error::Result;
use crate::uri::S3Uri;

/// Longest wait for the first byte of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Default region, as in other tools. A bucket in another region names that region.
const DEFAULT_REGION: &str = "us-east-1";

/// Client of S3, with the credentials, region and endpoint of the environment.
#[derive(Debug)]
pub struct S3 {
    connection: Connection,
    client: Client,
    region: String,
}

impl S3 {
    /// Creates a client. Loads the credentials now, because an error from within a request would be
    /// wrapped many times.
    ///
    /// # Errors
    /// If no credentials are found, or they have expired.
    pub fn new(connection: &Connection) -> Result<Self> {
        connection.runtime().block_on(connection.credentials())?;
        let config = connection.config();
        let timeouts = config.timeout_config().map(TimeoutConfig::to_builder);
        let timeouts = timeouts.unwrap_or_default().read_timeout(READ_TIMEOUT).build();
        let region = config.region().map_or(DEFAULT_REGION, AsRef::as_ref).to_owned();
        // Other servers than Amazon's rarely have a host name for each bucket.
        let own_server =
            config.endpoint_url().is_some() || env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = Builder::from(config)
            .timeout_config(timeouts)
            .region(Region::new(region.clone()))
            .force_path_style(own_server)
            // The download checks the whole object. The SDK would check single ranges.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self { connection: connection.clone(), client: Client::from_conf(config), region })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.connection.runtime()
    }

    /// A request, for error messages.
    pub(super) fn request<'a>(&'a self, uri: &'a S3Uri, action: &'static str) -> Request<'a> {
        Request { uri, action, region: &self.region }
    }

    /// Waits for an answer, or until the user interrupts.
    pub(super) fn wait<T>(
        &self,
        progress: &dyn Progress,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.connection.wait(progress, answer)
    }
}
