//! The connection to AWS: one runtime, one source of credentials, one HTTP client.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{
    ProvideCredentials, Result as ProviderResult, SharedCredentialsProvider,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use epitome_runtime::Progress;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{Error, Result};

/// Threads for network traffic. The data is processed elsewhere.
const THREADS: usize = 2;

/// Time between two checks for an interruption by the user.
const TICK: Duration = Duration::from_millis(100);

/// Credentials with a shorter remaining lifetime are loaded again.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// A connection with the credentials, the region and the endpoints of the environment.
#[derive(Clone, Debug)]
pub struct Connection {
    runtime: Arc<Runtime>,
    config: SdkConfig,
}

impl Connection {
    /// Reads the settings that all AWS tools read: environment variables (`AWS_PROFILE`,
    /// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on), the files in `~/.aws`, IAM
    /// Identity Center, a web identity, or the role of the container or machine. Credentials are
    /// loaded when the first call needs them.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("epitome-aws")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let http = Builder::new().build_with_connector_fn(|settings, _| {
            connector(settings.cloned().unwrap_or_default())
        });
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        let config = runtime.block_on(loader.load());
        let cached = config.credentials_provider().map(CachedCredentials::new);
        let mut config = config.into_builder();
        config.set_credentials_provider(cached.map(SharedCredentialsProvider::new));
        Ok(Self { runtime: Arc::new(runtime), config: config.build() })
    }

    /// The region of the calls.
    ///
    /// # Errors
    /// [`Error::NoRegion`], [`Error::BadRegion`].
    pub fn region(&self) -> Result<&str> {
        match self.config.region().map(Region::as_ref) {
            None => Err(Error::NoRegion),
            Some(region) if is_region(region) => Ok(region),
            Some(region) => Err(Error::BadRegion(region.to_owned())),
        }
    }

    pub(crate) fn config(&self) -> &SdkConfig {
        &self.config
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The credentials for signatures. An error from here is clearer than one from within a call.
    pub(crate) async fn credentials(&self) -> Result<Credentials> {
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or(Error::NoCredentials)?;
        Ok(provider.provide_credentials().await?)
    }

    /// Waits for an answer, or until the user interrupts.
    pub(crate) fn wait<T>(
        &self,
        progress: &dyn Progress,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.wait_with(progress, answer, || {})
    }

    /// Waits for an answer, or until the user interrupts. Calls `tick` regularly.
    pub(crate) fn wait_with<T>(
        &self,
        progress: &dyn Progress,
        answer: impl Future<Output = Result<T>>,
        mut tick: impl FnMut(),
    ) -> Result<T> {
        self.runtime.block_on(async {
            let mut answer = pin!(answer);
            loop {
                tick();
                if progress.cancelled() {
                    return Err(Error::Interrupted);
                }
                if let Ok(answer) = timeout(TICK, &mut answer).await {
                    return answer;
                }
            }
        })
    }
}

/// Sends requests over HTTP and HTTPS, through the proxy that the environment names.
pub(crate) fn connector(settings: HttpConnectorSettings) -> Connector {
    Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build()
}

fn is_region(region: &str) -> bool {
    !region.is_empty()
        && region.len() <= 63
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Caches credentials for all clients, until shortly before they expire.
#[derive(Clone, Debug)]
struct CachedCredentials {
    source: SharedCredentialsProvider,
    kept: Arc<Mutex<Option<Credentials>>>,
}

impl CachedCredentials {
    fn new(source: SharedCredentialsProvider) -> Self {
        Self { source, kept: Arc::default() }
    }

    async fn load(&self) -> ProviderResult {
        let mut kept = self.kept.lock().await;
        let soon = SystemTime::now() + MIN_LIFETIME;
        if let Some(credentials) = &*kept
            && credentials.expiry().is_none_or(|expiry| expiry > soon)
        {
            return Ok(credentials.clone());
        }
        let fresh = self.source.provide_credentials().await?;
        *kept = Some(fresh.clone());
        Ok(fresh)
    }
}

impl ProvideCredentials for CachedCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_that_would_change_the_host_are_refused() {
        assert!(is_region("eu-west-1"));
        for region in ["", "eu west", "evil.com/", "EU-WEST-1", "a@b"] {
            assert!(!is_region(region), "{region}");
        }
    }
}
