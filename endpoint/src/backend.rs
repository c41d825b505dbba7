//! What the server and its page ask: the models of this process, or endpoints elsewhere.

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

/// Names the model or the endpoint that a request is for.
pub(crate) const TARGET_MODEL: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-target-model");

/// What comes later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Answers requests for summaries.
pub(crate) trait Backend: Send + Sync {
    /// Whether it can answer.
    fn health(&self) -> Health;

    /// Fields of `GET /info`: `backend`; `models`, the one that answers by default first; `named`,
    /// whether requests name one; `long`, what that parameter may be, where it is known.
    fn describe(&self) -> Later<'_, Map<String, Value>>;

    /// Answers an invocation.
    fn invoke(&self, request: Request<Body>) -> Later<'_, Response>;

    /// Answers a completion, where it has models of its own.
    fn complete(&self, _style: Style, _headers: HeaderMap, _body: Body) -> Later<'_, Response> {
        let path = "/v1".into();
        Box::pin(std::future::ready(Err(ApiError::NoSuchPath(path))))
    }

    /// Names of the models that answer completions.
    fn model_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Counts the tokens of a text for what the headers name, where that can be told.
    fn count_tokens(
        &self,
        headers: HeaderMap,
        text: String,
        deadline: Instant,
    ) -> Later<'_, Option<TokenCount>>;

    /// Requests that wait.
    fn waiting(&self) -> usize {
        0
    }

    /// Takes no more requests; those that were taken are still answered.
    fn close(&self) {}

    /// Waits for the work to end after [`close`](Self::close). Blocks.
    fn join(&self) {}
}

/// How a text fits into what the model reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TokenCount {
    /// Tokens of the whole text, special ones included.
    pub(crate) tokens: usize,
    /// Whether there are more that were not counted.
    pub(crate) more: bool,
    /// Tokens that the model reads at once.
    pub(crate) window: usize,
}

/// The model or the endpoint that a request names.
pub(crate) fn target(headers: &HeaderMap) -> Option<&str> {
    headers.get(TARGET_MODEL).and_then(|name| name.to_str().ok())
}
