//! `POST /v1/chat/completions`, `POST /v1/completions` and `GET /v1/models`: OpenAI's API.
//!
//! The last message of the user, or the prompt, is the document. The answer is its summary.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::app::App;
use crate::completion::error_body;
use crate::contract::Style;
use crate::error::ApiError;
use crate::path_name::Name;

/// `POST /v1/chat/completions`
pub(crate) async fn chat(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    complete(&app, Style::Chat, request).await
}

/// `POST /v1/completions`
pub(crate) async fn text(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    complete(&app, Style::Text, request).await
}

async fn complete(app: &App, style: Style, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let answer = app.backend.complete(style, parts.headers, body).await;
    answer.unwrap_or_else(refusal)
}

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let models: Vec<Value> = app.backend.model_names().iter().map(|name| model(name)).collect();
    json_response(&json!({"object": "list", "data": models}))
}

/// `GET /v1/models/{name}`
pub(crate) async fn show_model(
    State(app): State<Arc<App>>,
    name: Result<Name, ApiError>,
) -> Response {
    match name {
        Ok(Name(name)) if app.backend.model_names().contains(&name) => json_response(&model(&name)),
        Ok(Name(name)) => refusal(ApiError::NoSuchModel(name)),
        Err(error) => refusal(error),
    }
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "epitome"})
}

fn json_response(value: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], value.to_string()).into_response()
}

/// An error in the form of OpenAI's API.
fn refusal(error: ApiError) -> Response {
    let body = error_body(&error);
    error.with_body(&body)
}
