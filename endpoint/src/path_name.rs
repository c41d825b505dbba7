//! Names in paths.

use axum::extract::{FromRequestParts, Path};
use hyper::http::request::Parts;

use crate::error::ApiError;

/// Longest name of an endpoint, in characters.
pub(crate) const MAX_ENDPOINT_NAME: usize = 63;

/// Paths of health checks.
pub(crate) const PROBES: [&str; 3] = ["/ping", "/health/live", "/health/ready"];

/// The name of an endpoint in the path of a request.
#[derive(Clone)]
pub(crate) struct EndpointName(pub(crate) String);

/// A name in a path, decoded from percent-encoding.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = Path::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|_| {
            ApiError::BadRequest("the path is not UTF-8 once its percent-encoding is undone".into())
        })?;
        Ok(Self(name))
    }
}

/// Whether AWS accepts it as the name of an endpoint: `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`
pub(crate) fn is_endpoint_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    bytes.len() <= MAX_ENDPOINT_NAME
        && bytes.first().is_some_and(|byte| sound(*byte))
        && bytes.last().is_some_and(|byte| sound(*byte))
        && bytes.iter().all(|byte| sound(*byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_names_are_checked_as_aws_does() {
        for name in ["a", "my-endpoint-2", "A--b"] {
            assert!(is_endpoint_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "-a", "a-", "a_b", "a b", "../a", long.as_str()] {
            assert!(!is_endpoint_name(name), "{name}");
        }
    }
}
