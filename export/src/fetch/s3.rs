//! The connection to S3.

use std::env;
use std::pin::pin;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, ProvideCredentials, ResponseChecksumValidation};
use epitome_runtime::error::innermost;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::error::{Error, Request};
use super::model::Model;
use super::uri::S3Uri;
use crate::{Progress, Result};

/// Threads that move bytes; the work on them is done elsewhere.
const THREADS: usize = 2;

/// How often waiting is interrupted to see whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// How long the first byte of an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// Where S3 is when nothing says, as for other tools. A bucket elsewhere says so itself.
const DEFAULT_REGION: &str = "us-east-1";

/// A connection to S3, with the credentials, the region and the endpoint of the environment.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    region: String,
    runtime: Runtime,
}

impl S3 {
    /// Connects as all AWS tools do: with environment variables (`AWS_PROFILE`, `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3` and so on), the files in
    /// `~/.aws`, IAM Identity Center, a web identity, or the role of the container or machine.
    ///
    /// # Errors
    ///
    /// [`Error::NoCredentials`] and [`Error::ExpiredCredentials`].
    pub fn connect() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("epitome-s3")
            .enable_all()
            .build()
            .map_err(|error| Error::Threads {
                problem: error.to_string(),
            })?;
        let timeouts = TimeoutConfig::builder().read_timeout(ANSWER).build();
        let shared = runtime.block_on(
            aws_config::defaults(BehaviorVersion::latest())
                .timeout_config(timeouts)
                .load(),
        );
        if let Some(provider) = shared.credentials_provider() {
            // Now, and not with a request, where a failure would be wrapped many times over.
            let found = runtime.block_on(provider.provide_credentials());
            found.map_err(|error| no_credentials(&error))?;
        }
        let region = shared
            .region()
            .map_or(DEFAULT_REGION, AsRef::as_ref)
            .to_owned();
        // Servers other than Amazon's rarely have a name for each bucket.
        let own_server =
            shared.endpoint_url().is_some() || env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = Builder::from(&shared)
            .region(Region::new(region.clone()))
            .force_path_style(own_server)
            // What arrives is checked as a whole here; the client would check single answers.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            region,
            runtime,
        })
    }

    /// The model at an address: an archive, or a prefix with a checkpoint's files.
    pub fn model(&self, uri: S3Uri) -> Model<'_> {
        Model::new(self, uri)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What is being asked, for messages.
    pub(super) fn request<'a>(&'a self, uri: &'a S3Uri, action: &'static str) -> Request<'a> {
        Request {
            uri,
            action,
            region: &self.region,
        }
    }

    /// Waits for an answer, or until the user wants to stop.
    pub(super) fn wait<T>(
        &self,
        progress: &dyn Progress,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T> {
        self.wait_with(answer, || match progress.cancelled() {
            true => Err(crate::Error::Interrupted),
            false => Ok(()),
        })
    }

    /// Waits for an answer, with a `tick` now and then that may end the waiting.
    pub(super) fn wait_with<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
        mut tick: impl FnMut() -> Result<()>,
    ) -> Result<T> {
        self.runtime.block_on(async {
            let mut answer = pin!(answer);
            loop {
                tick()?;
                if let Ok(answer) = timeout(TICK, &mut answer).await {
                    return Ok(answer?);
                }
            }
        })
    }
}

fn no_credentials(error: &CredentialsError) -> Error {
    let problem = innermost(error);
    if problem.to_lowercase().contains("expired") {
        return Error::ExpiredCredentials;
    }
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Error::NoCredentials {
            problem: "no source of the standard chain has any".to_owned(),
        },
        _ => Error::NoCredentials { problem },
    }
}
