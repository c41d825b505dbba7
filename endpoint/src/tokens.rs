//! `POST /tokens`: how a text fits into what the model reads.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde_json::json;

use crate::app::App;
use crate::body;
use crate::error::ApiError;

/// Bytes of a text: more than a book.
const MAX_TEXT: usize = 4 << 20;

/// Answers `null` where nobody here knows the model's tokens.
pub(crate) async fn count(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let deadline = app.context.deadline();
    let mut charge = app.context.in_flight.open();
    let (parts, body) = request.into_parts();
    let body = body::read(body, MAX_TEXT, deadline, &mut charge).await?;
    let text = String::from_utf8(body.into())
        .map_err(|_| ApiError::BadRequest("the text is not UTF-8".into()))?;
    let count = app.backend.count_tokens(parts.headers, text, deadline).await?;
    Ok(([(CONTENT_TYPE, "application/json")], json!(count).to_string()).into_response())
}
