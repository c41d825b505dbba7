//! Signed JSON calls.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use epitome_runtime::error::innermost;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{AwsError, Service};

/// Tries of a call that meets throttling, an error of the service or a broken connection, unless the environment says otherwise.
const ATTEMPTS: u32 = 3;
/// Wait before the second try; it doubles with each, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Credentials that expire sooner are fetched anew.
const CREDENTIALS_LEFT: Duration = Duration::from_secs(60);

/// Calls AWS's control plane, with the credentials and region rules of the AWS SDKs.
pub struct Client {
    runtime: Runtime,
    config: SdkConfig,
    region: String,
    connector: Connector,
    attempts: u32,
    credentials: Mutex<Option<Credentials>>,
}

impl Client {
    /// Reads the environment, the profile, and what the machine says about itself. Credentials are looked for when the first
    /// call needs them.
    ///
    /// # Errors
    /// Where no region is set, or it cannot be one.
    pub fn connect() -> Result<Self, AwsError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| AwsError::Failed(format!("no runtime for calls: {error}")))?;
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        let config = runtime.block_on(loader.load());
        let region = config.region().ok_or(AwsError::NoRegion)?.to_string();
        if !is_region(&region) {
            return Err(AwsError::BadRegion(region));
        }
        let attempts = config
            .retry_config()
            .map_or(ATTEMPTS, aws_config::retry::RetryConfig::max_attempts);
        Ok(Self {
            runtime,
            config,
            region,
            connector: connector(),
            attempts,
            credentials: Mutex::new(None),
        })
    }

    /// The region that is called.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends one call, and tries again where that may help.
    ///
    /// # Errors
    /// No credentials, no connection, or what AWS says against it.
    pub fn call(&self, service: Service, operation: &str, body: &Value) -> Result<Value, AwsError> {
        self.runtime.block_on(async {
            let mut attempt = 1;
            loop {
                match self.attempt(service, operation, body).await {
                    Err(error) if attempt < self.attempts && is_passing(&error) => {
                        tokio::time::sleep(wait(attempt)).await;
                        attempt += 1;
                    }
                    result => return result,
                }
            }
        })
    }

    async fn attempt(
        &self,
        service: Service,
        operation: &str,
        body: &Value,
    ) -> Result<Value, AwsError> {
        let url = self.url(service);
        let credentials = self.credentials().await?;
        let request = self.signed(service, operation, body, (&url, credentials))?;
        let unreachable = |problem: String| AwsError::Unreachable {
            url: url.clone(),
            operation: operation.into(),
            problem,
        };
        let response = self.connector.call(request).await;
        let response = response.map_err(|error| unreachable(innermost(&error)))?;
        let status = response.status().as_u16();
        let kind = response
            .headers()
            .get("x-amzn-errortype")
            .map(str::to_owned);
        let bytes = response.into_body().collect().await;
        let bytes = bytes
            .map_err(|error| unreachable(innermost(&*error)))?
            .to_bytes();
        if (200..300).contains(&status) {
            return answer(&bytes).map_err(|problem| AwsError::BadAnswer {
                url,
                operation: operation.into(),
                problem,
            });
        }
        Err(refusal(operation, status, kind, &bytes))
    }

    fn signed(
        &self,
        service: Service,
        operation: &str,
        body: &Value,
        (url, credentials): (&str, Credentials),
    ) -> Result<HttpRequest, AwsError> {
        let invalid = |error: &(dyn Error + 'static)| {
            AwsError::Invalid(format!(
                "no call can be made to {url}: {}",
                innermost(error)
            ))
        };
        let body = body.to_string();
        let mut request = hyper::Request::post(format!("{}/", url.trim_end_matches('/')))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", service.target(operation))
            .header("user-agent", concat!("epitome/", env!("CARGO_PKG_VERSION")))
            .body(SdkBody::from(body.clone()))
            .map_err(|error| invalid(&error))?;
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        let uri = request.uri().to_string();
        let signable =
            SignableRequest::new("POST", uri, headers, SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| invalid(&error))?;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service.signing_name())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| invalid(&error))?
            .into();
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| invalid(&error))?
            .into_parts();
        instructions.apply_to_request_http1x(&mut request);
        HttpRequest::try_from(request).map_err(|error| invalid(&error))
    }

    /// The URL that the environment or profile names for the service or for all, or AWS's own.
    fn url(&self, service: Service) -> String {
        let key = ServiceConfigKey::builder()
            .service_id(service.id())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let of_service = key
            .ok()
            .and_then(|key| self.config.service_config()?.load_config(key));
        let of_all = || self.config.endpoint_url().map(str::to_owned);
        of_service
            .or_else(of_all)
            .unwrap_or_else(|| service.url(&self.region, self.config.use_fips() == Some(true)))
    }

    async fn credentials(&self) -> Result<Credentials, AwsError> {
        let kept = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let soon = SystemTime::now() + CREDENTIALS_LEFT;
        if let Some(kept) = kept
            && kept.expiry().is_none_or(|expiry| expiry > soon)
        {
            return Ok(kept);
        }
        let provider = self
            .config
            .credentials_provider()
            .ok_or(AwsError::NoCredentials)?;
        let fresh = provider.provide_credentials().await?;
        let mut credentials = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *credentials = Some(fresh.clone());
        Ok(fresh)
    }
}

fn connector() -> Connector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .build();
    Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build()
}

fn is_region(region: &str) -> bool {
    !region.is_empty()
        && region.len() <= 63
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The answer's JSON; some operations answer with nothing.
fn answer(bytes: &Bytes) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_slice(bytes) {
        Ok(answer @ Value::Object(_)) => Ok(answer),
        Ok(_) => Err("JSON that is no object".into()),
        Err(_) => Err(format!("no JSON: {}", excerpt(bytes))),
    }
}

fn refusal(operation: &str, status: u16, header: Option<String>, bytes: &Bytes) -> AwsError {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| body[name].as_str())
            .map(str::to_owned)
    };
    // com.amazon.coral.validate#ValidationException, or ValidationException:http://...
    let code = text(["__type", "code"])
        .or(header)
        .unwrap_or_else(|| format!("HTTP status {status}"));
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    AwsError::Refused {
        operation: operation.into(),
        code: code.into(),
        message: text(["message", "Message"]).unwrap_or_else(|| excerpt(bytes)),
        status,
    }
}

/// The start of an answer on one line.
fn excerpt(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect()
}

/// Whether the same call may succeed a little later.
fn is_passing(error: &AwsError) -> bool {
    match error {
        AwsError::Unreachable { .. } => true,
        AwsError::Refused { code, status, .. } => {
            *status >= 500 || *status == 429 || is_throttling(code)
        }
        _ => false,
    }
}

fn is_throttling(code: &str) -> bool {
    code.contains("Throttl")
        || matches!(
            code,
            "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "LimitExceededException"
                | "SlowDown"
                | "RequestTimeout"
                | "RequestTimeoutException"
        )
}

/// Exponential, with a random part: those who were refused together do not come back together.
fn wait(attempt: u32) -> Duration {
    let longest = FIRST_WAIT
        .saturating_mul(1 << attempt.min(16).saturating_sub(1))
        .min(LONGEST_WAIT);
    longest.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_every_form_that_aws_uses() {
        for (header, body, code, message) in [
            (
                None,
                r#"{"__type":"ValidationException","message":"no"}"#,
                "ValidationException",
                "no",
            ),
            (
                None,
                r#"{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow"}"#,
                "ThrottlingException",
                "slow",
            ),
            (
                Some("ResourceNotFound:http://x"),
                r#"{"Message":"gone"}"#,
                "ResourceNotFound",
                "gone",
            ),
            (
                None,
                "<html>\n bad  gateway",
                "HTTP status 502",
                "<html> bad gateway",
            ),
        ] {
            let bytes = Bytes::copy_from_slice(body.as_bytes());
            let error = refusal("CreateModel", 502, header.map(str::to_owned), &bytes);
            let AwsError::Refused {
                code: found,
                message: said,
                ..
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((found.as_str(), said.as_str()), (code, message));
        }
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempt in 1..40 {
            let longest = wait(attempt);
            assert!(longest <= LONGEST_WAIT);
            assert!(longest >= FIRST_WAIT / 2);
        }
    }

    #[test]
    fn regions_that_would_change_the_host_are_refused() {
        assert!(is_region("eu-west-1"));
        for region in ["", "eu west", "evil.com/", "EU-WEST-1", "a@b"] {
            assert!(!is_region(region), "{region}");
        }
    }
}
