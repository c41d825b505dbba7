//! Names in paths.

use axum::extract::{FromRequestParts, Path};
use hyper::http::request::Parts;

use crate::error::ApiError;

/// The name in a path, percent-encoded there.
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
