//! The backend of the server and its page: the models of this process, or other endpoints.

use std::pin::Pin;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::header::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::contract::Style;
use crate::error::ApiError;
use crate::scheduler::Health;

/// Header that names the model or the endpoint of a request.
pub(crate) const TARGET_MODEL: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-target-model");

/// A boxed future.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Answers requests for summaries.
pub(crate) trait Backend: Send + Sync {
    /// Whether it can answer requests.
    fn health(&self) -> Health;

    /// Fields of `GET /info`: `backend`; `models`, the default one first; `named`, whether requests
    /// name a model; `long`, the values of that parameter, if they are known.
    fn describe(&self) -> BoxFuture<'_, Map<String, Value>>;

    /// Answers an invocation.
    fn invoke(&self, request: Request<Body>) -> BoxFuture<'_, Response>;

    /// Answers a completion of OpenAI's API. Only models of this process do.
    fn complete(&self, _style: Style, _headers: HeaderMap, _body: Body) -> BoxFuture<'_, Response> {
        let path = "/v1".into();
        Box::pin(std::future::ready(Err(ApiError::NoSuchPath(path))))
    }

    /// Names of the models that answer completions.
    fn model_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Counts the tokens of a text for the model that the headers name. `None` if the tokenizer is
    /// unknown.
    fn count_tokens(
        &self,
        headers: HeaderMap,
        text: String,
        deadline: Instant,
    ) -> BoxFuture<'_, Option<TokenCount>>;

    /// Number of waiting requests.
    fn waiting(&self) -> usize {
        0
    }

    /// Refuses new requests. Accepted requests are still answered.
    fn close(&self) {}

    /// Waits for the work to end after [`close`](Self::close). Blocks.
    fn join(&self) {}
}

/// Length of a text, compared with the window of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TokenCount {
    /// Tokens of the whole text, including special tokens.
    pub(crate) tokens: usize,
    /// Whether the text has further tokens that were not counted.
    pub(crate) more: bool,
    /// Tokens that the model reads at most.
    pub(crate) window: usize,
}

/// The model or the endpoint that a request names.
pub(crate) fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get(TARGET_MODEL).and_then(|name| name.to_str().ok())
}
