//! The control plane: signed JSON calls.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use epitome_runtime::error::innermost;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::connection::{Connection, connector};
use crate::error::{Error, Result};
use crate::service::Service;

/// Number of attempts after throttling, a service error or a broken connection, unless the
/// environment sets another.
const ATTEMPTS: u32 = 3;
/// Wait before the second attempt. It doubles with each attempt, up to the maximum.
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// A call of the control plane that has not been made.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Name of the operation.
    pub operation: &'static str,
    /// The body of the call.
    pub body: Value,
}

/// Client of AWS's control plane.
#[derive(Debug)]
pub struct ControlPlane {
    connection: Connection,
    region: String,
    connector: Connector,
    attempts: u32,
}

impl ControlPlane {
    /// Creates a client for the connection's region.
    ///
    /// # Errors
    /// If no region is set, or the name is invalid.
    pub fn new(connection: &Connection) -> Result<Self> {
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build();
        let retries = connection.config().retry_config();
        Ok(Self {
            region: connection.region()?.to_owned(),
            connector: connector(settings),
            attempts: retries.map_or(ATTEMPTS, RetryConfig::max_attempts),
            connection: connection.clone(),
        })
    }

    /// The region of the calls.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Makes a call, and repeats it after a transient error.
    ///
    /// # Errors
    /// If there are no credentials or no connection, or AWS refuses the call.
    pub fn call(&self, service: Service, operation: &str, body: &Value) -> Result<Value> {
        self.connection.runtime().block_on(async {
            let mut attempt = 1;
            loop {
                match self.attempt(service, operation, body).await {
                    Err(error) if attempt < self.attempts && is_transient(&error) => {
                        tokio::time::sleep(backoff(attempt)).await;
                        attempt += 1;
                    }
                    result => return result,
                }
            }
        })
    }

    /// At most this number of pages of a list.
    ///
    /// # Errors
    /// Fails as [`call`](Self::call) does.
    pub(crate) fn pages(
        &self,
        service: Service,
        operation: &str,
        body: &Value,
        limit: usize,
    ) -> Result<Vec<Value>> {
        let mut pages = Vec::new();
        let mut body = body.clone();
        while pages.len() < limit {
            let page = self.call(service, operation, &body)?;
            let next = page["NextToken"].as_str().filter(|next| !next.is_empty());
            let next = next.map(str::to_owned);
            pages.push(page);
            match next {
                Some(next) => body["NextToken"] = next.into(),
                None => break,
            }
        }
        Ok(pages)
    }

    async fn attempt(&self, service: Service, operation: &str, body: &Value) -> Result<Value> {
        let url = self.url(service);
        let credentials = self.connection.credentials().await?;
        let request = self.signed(service, operation, body, (&url, credentials))?;
        let unreachable = |problem: String| Error::Unreachable {
            target: url.clone(),
            operation: operation.into(),
            problem,
        };
        let response = self.connector.call(request).await;
        let response = response.map_err(|error| unreachable(innermost(&error)))?;
        let status = response.status().as_u16();
        let kind = response.headers().get("x-amzn-errortype").map(str::to_owned);
        let bytes = response.into_body().collect().await;
        let bytes = bytes.map_err(|error| unreachable(innermost(&*error)))?.to_bytes();
        if (200..300).contains(&status) {
            return answer(&bytes).map_err(|problem| Error::BadAnswer {
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
    ) -> Result<HttpRequest> {
        let invalid = |error: &(dyn StdError + 'static)| {
            Error::Invalid(format!("no call can be made to {url}: {}", innermost(error)))
        };
        let body = body.to_string();
        let mut request = hyper::Request::post(format!("{}/", url.trim_end_matches('/')))
            .header("content-type", service.content_type())
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
        let (instructions, _) =
            sign(signable, &parameters).map_err(|error| invalid(&error))?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        HttpRequest::try_from(request).map_err(|error| invalid(&error))
    }

    /// The URL of the service. The environment or the profile may set one for it or for all
    /// services.
    fn url(&self, service: Service) -> String {
        let config = self.connection.config();
        let key = ServiceConfigKey::builder()
            .service_id(service.id())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let of_service = key.ok().and_then(|key| config.service_config()?.load_config(key));
        let of_all = || config.endpoint_url().map(str::to_owned);
        of_service
            .or_else(of_all)
            .unwrap_or_else(|| service.url(&self.region, config.use_fips() == Some(true)))
    }
}

/// A time in an answer, in seconds since 1970.
pub(crate) fn seconds(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The answer's JSON object; empty for an answer without a body.
fn answer(bytes: &Bytes) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_slice(bytes) {
        Ok(answer @ Value::Object(_)) => Ok(answer),
        Ok(_) => Err("JSON that is not an object".into()),
        Err(_) => Err(format!("no JSON: {}", excerpt(bytes))),
    }
}

fn refusal(operation: &str, status: u16, header: Option<String>, bytes: &Bytes) -> Error {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text =
        |names: [&str; 2]| names.iter().find_map(|name| body[name].as_str()).map(str::to_owned);
    // Examples: com.amazon.coral.validate#ValidationException, or ValidationException:http://...
    let code =
        text(["__type", "code"]).or(header).unwrap_or_else(|| format!("HTTP status {status}"));
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    Error::of_credentials(code).unwrap_or_else(|| Error::Refused {
        operation: operation.into(),
        code: code.into(),
        message: text(["message", "Message"]).unwrap_or_else(|| excerpt(bytes)),
        status,
    })
}

/// The start of an answer on one line.
fn excerpt(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect()
}

/// Whether the same call may succeed later.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused { code, status, .. } => {
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

/// Exponential backoff with a random part, so that refused clients do not all return together.
fn backoff(attempt: u32) -> Duration {
    let longest =
        MIN_BACKOFF.saturating_mul(1 << attempt.min(16).saturating_sub(1)).min(MAX_BACKOFF);
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
            (None, "<html>\n bad  gateway", "HTTP status 502", "<html> bad gateway"),
        ] {
            let bytes = Bytes::copy_from_slice(body.as_bytes());
            let error = refusal("CreateModel", 502, header.map(str::to_owned), &bytes);
            let Error::Refused { code: found, message: said, .. } = error else {
                panic!("{error}");
            };
            assert_eq!((found.as_str(), said.as_str()), (code, message));
        }
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempt in 1..40 {
            let longest = backoff(attempt);
            assert!(longest <= MAX_BACKOFF);
            assert!(longest >= MIN_BACKOFF / 2);
        }
    }
}
