//! What can go wrong with a request, and the one table that gives each a status code.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::json;

/// Why a request gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("there is nothing at {0}")]
    NoSuchPath(String),
    #[error("{method} is not possible on {path}")]
    MethodNotAllowed { method: String, path: String },
    #[error("model \"{0}\" is not loaded: POST /models loads one")]
    NoSuchModel(String),
    #[error(
        "cannot answer as '{0}': accept application/json, application/jsonlines, text/csv, text/plain or text/event-stream"
    )]
    NotAcceptable(String),
    #[error("the body did not arrive within {} seconds", .0.as_secs())]
    SlowBody(Duration),
    #[error("model \"{0}\" is loaded already")]
    ModelExists(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error(
        "cannot read '{0}': send application/json, application/jsonlines, text/csv or text/plain, in UTF-8"
    )]
    UnsupportedMediaType(String),
    #[error("the model failed: {0}")]
    ModelFailed(String),
    #[error("{waiting} requests are waiting, and more do not fit: try again in {} seconds", .retry_after.as_secs())]
    Overloaded {
        waiting: usize,
        retry_after: Duration,
    },
    #[error("the worker failed while it worked on this request")]
    WorkerFailed,
    #[error("{0}")]
    NotReady(String),
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("no answer was ready within {} seconds: ask for fewer or shorter texts, or fewer beams", .0.as_secs())]
    Deadline(Duration),
    #[error(
        "model \"{name}\" needs about {needed} bytes of memory, and {free} of {budget} are free"
    )]
    OutOfMemory {
        name: String,
        needed: u64,
        free: u64,
        budget: u64,
    },
}

impl ApiError {
    /// The table: status code, and the `type` in the body. The stock container calls a bad request
    /// `InternalServerException`, and clients may look for that.
    #[rustfmt::skip]
    fn describe(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_)           => (StatusCode::BAD_REQUEST,            "InternalServerException"),
            Self::NoSuchPath(_)           => (StatusCode::NOT_FOUND,              "ResourceNotFoundException"),
            Self::NoSuchModel(_)          => (StatusCode::NOT_FOUND,              "ModelNotFoundException"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED,     "MethodNotAllowedException"),
            Self::NotAcceptable(_)        => (StatusCode::NOT_ACCEPTABLE,         "NotAcceptableException"),
            Self::SlowBody(_)             => (StatusCode::REQUEST_TIMEOUT,        "RequestTimeoutException"),
            Self::ModelExists(_)          => (StatusCode::CONFLICT,               "ConflictStatusException"),
            Self::TooLarge(_)             => (StatusCode::PAYLOAD_TOO_LARGE,      "RequestEntityTooLargeException"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaTypeException"),
            Self::ModelFailed(_)          => (StatusCode::FAILED_DEPENDENCY,      "ModelFailedException"),
            Self::Overloaded { .. }       => (StatusCode::TOO_MANY_REQUESTS,      "TooManyRequestsException"),
            Self::WorkerFailed            => (StatusCode::INTERNAL_SERVER_ERROR,  "InternalServerException"),
            Self::NotReady(_)             => (StatusCode::SERVICE_UNAVAILABLE,    "ServiceUnavailableException"),
            Self::ShuttingDown            => (StatusCode::SERVICE_UNAVAILABLE,    "ServiceUnavailableException"),
            Self::Deadline(_)             => (StatusCode::GATEWAY_TIMEOUT,        "DeadlineExceededException"),
            Self::OutOfMemory { .. }      => (StatusCode::INSUFFICIENT_STORAGE,   "InsufficientMemoryException"),
        }
    }

    /// The status code.
    pub(crate) fn status(&self) -> StatusCode {
        self.describe().0
    }

    /// The body: the stock container's.
    pub(crate) fn body(&self) -> serde_json::Value {
        let (status, kind) = self.describe();
        json!({"code": status.as_u16(), "type": kind, "message": self.to_string()})
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::NotReady(_) | Self::ShuttingDown => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, after.as_secs().max(1).into());
        }
        if self.status().is_client_error() || self.status().is_server_error() {
            response.extensions_mut().insert(Failure(self.to_string()));
        }
        response
    }
}

/// Why a response is an error, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<epitome_runtime::Error> for ApiError {
    fn from(error: epitome_runtime::Error) -> Self {
        use epitome_runtime::Error;
        match error {
            Error::Parameter(_) | Error::EmptyText { .. } => Self::BadRequest(error.to_string()),
            _ => Self::ModelFailed(error.to_string()),
        }
    }
}
