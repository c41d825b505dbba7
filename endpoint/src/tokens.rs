//! `POST /tokens`: the length of a text, compared with the model's window.

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

/// Longest text in bytes, more than a book.
const MAX_TEXT: usize = 4 << 20;

/// Answers with the counts, or with `null` if the tokenizer is unknown.
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
