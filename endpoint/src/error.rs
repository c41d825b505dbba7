//! The errors of requests, and the table of their status codes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use epitome_runtime::generation::ParameterError;
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

/// Longest quote of a client's text in a message, in characters.
const MAX_QUOTED: usize = 80;

/// Reason why a request failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    /// The message contains nothing of the body.
    #[error("{0}")]
    BadRequest(String),
    #[error("{}{error}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    BadParameter {
        /// Line number in a body of JSON lines.
        line: Option<usize>,
        error: ParameterError,
    },
    #[error("{0}")]
    Forbidden(String),
    #[error("this server asks for a key: send it as Authorization: Bearer KEY")]
    Unauthorized,
    #[error("there is nothing at {}", quoted(.0))]
    NoSuchPath(String),
    #[error("{} is not possible on {}", quoted(method), quoted(path))]
    MethodNotAllowed { method: String, path: String },
    #[error("model \"{}\" is not loaded: POST /models loads one", quoted(.0))]
    NoSuchModel(String),
    #[error(
        "cannot answer as '{}': accept application/json, application/jsonlines, text/csv, \
         text/plain, application/x-npy or text/event-stream",
        quoted(.0)
    )]
    NotAcceptable(String),
    #[error("the body did not arrive within {} seconds", .0.as_secs())]
    SlowBody(Duration),
    #[error("model \"{}\" is loaded already", quoted(.0))]
    ModelExists(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error(
        "the request asks for {rows} rows (documents times beams), and {max} may wait: send fewer \
         documents a request"
    )]
    TooManyRows { rows: usize, max: usize },
    #[error(
        "cannot read '{}': send application/json, application/jsonlines, text/csv, text/plain, in \
         UTF-8, or application/x-npy",
        quoted(.0)
    )]
    UnsupportedMediaType(String),
    #[error("cannot read a body in '{}': send it as it is, or in gzip or deflate", quoted(.0))]
    UnsupportedCoding(String),
    #[error("requests hold all the memory that they may: try again in a moment")]
    MemoryInUse,
    #[error("this server has as many clients as it takes: try again in a moment")]
    TooManyClients,
    #[error("the model failed: {0}")]
    ModelFailed(String),
    /// Error of another endpoint, or of the connection to it.
    #[error("{message}")]
    Endpoint { status: StatusCode, message: String },
    #[error("{0}")]
    UnreadableDocument(String),
    #[error(
        "{waiting} requests are waiting, and more do not fit: try again in {} seconds",
        .retry_after.as_secs()
    )]
    Overloaded { waiting: usize, retry_after: Duration },
    #[error("the worker failed while it worked on this request")]
    WorkerFailed,
    #[error("{0}")]
    NotReady(String),
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error(
        "no answer was ready within {} seconds: ask for fewer or shorter texts, or fewer beams",
        .0.as_secs()
    )]
    Deadline(Duration),
    #[error(
        "model \"{}\" needs about {needed} bytes of memory, and {free} of {budget} are free",
        quoted(name)
    )]
    OutOfMemory { name: String, needed: u64, free: u64, budget: u64 },
}

impl ApiError {
    /// The table of errors: status code, and the `type` in the body without its suffix `Exception`.
    /// The stock container answers a bad request with `InternalServerException`, and clients may
    /// check for that.
    fn describe(&self) -> (StatusCode, &'static str) {
        use StatusCode as Code;
        match self {
            Self::BadRequest(_) => (Code::BAD_REQUEST, "InternalServer"),
            Self::BadParameter { .. } => (Code::BAD_REQUEST, "InternalServer"),
            Self::Unauthorized => (Code::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden(_) => (Code::FORBIDDEN, "Forbidden"),
            Self::NoSuchPath(_) => (Code::NOT_FOUND, "ResourceNotFound"),
            Self::NoSuchModel(_) => (Code::NOT_FOUND, "ModelNotFound"),
            Self::MethodNotAllowed { .. } => (Code::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NotAcceptable(_) => (Code::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::SlowBody(_) => (Code::REQUEST_TIMEOUT, "RequestTimeout"),
            Self::ModelExists(_) => (Code::CONFLICT, "ConflictStatus"),
            Self::TooLarge(_) => (Code::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::TooManyRows { .. } => (Code::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::UnsupportedCoding(_) => (Code::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::UnsupportedMediaType(_) => (Code::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::ModelFailed(_) => (Code::FAILED_DEPENDENCY, "ModelFailed"),
            Self::Endpoint { status, .. } => (*status, "Endpoint"),
            Self::UnreadableDocument(_) => (Code::UNPROCESSABLE_ENTITY, "UnreadableDocument"),
            Self::Overloaded { .. } => (Code::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::MemoryInUse => (Code::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::TooManyClients => (Code::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::WorkerFailed => (Code::INTERNAL_SERVER_ERROR, "InternalServer"),
            Self::NotReady(_) => (Code::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::ShuttingDown => (Code::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Deadline(_) => (Code::GATEWAY_TIMEOUT, "DeadlineExceeded"),
            Self::OutOfMemory { .. } => (Code::INSUFFICIENT_STORAGE, "InsufficientMemory"),
        }
    }

    /// The status code.
    pub(crate) fn status(&self) -> StatusCode {
        self.describe().0
    }

    /// The body: that of the stock container, and the fields that clients of TGI read.
    pub(crate) fn body(&self) -> serde_json::Value {
        let (status, kind) = self.describe();
        let message = self.to_string();
        json!({
            "code": status.as_u16(),
            "type": format!("{kind}Exception"),
            "message": message,
            "error": message,
            "error_type": self.tgi_type(),
        })
    }

    /// TGI's name of the error.
    fn tgi_type(&self) -> &'static str {
        match self {
            Self::Overloaded { .. }
            | Self::MemoryInUse
            | Self::TooManyClients
            | Self::NotReady(_)
            | Self::ShuttingDown => "overloaded",
            Self::Deadline(_) => "incomplete_generation",
            Self::ModelFailed(_) | Self::WorkerFailed | Self::OutOfMemory { .. } => "generation",
            Self::Endpoint { status, .. } if status.is_server_error() => "generation",
            _ => "validation",
        }
    }

    /// The message without text of the body, for the log.
    pub(crate) fn without_texts(&self) -> String {
        let error = match self {
            Self::BadParameter { error, .. } => error,
            Self::UnreadableDocument(_) => return "the document cannot be read".into(),
            // The message may quote the request.
            Self::Endpoint { .. } => return "the endpoint refused the request".into(),
            _ => return self.to_string(),
        };
        match error {
            ParameterError::Invalid { name, .. }
            | ParameterError::Contradiction { name, .. }
            | ParameterError::NotSupported { name, .. }
            | ParameterError::Missing { name } => {
                format!("generation parameter `{name}` was refused")
            }
            ParameterError::ModelDefaults(_) => error.to_string(),
            _ => "a generation parameter was refused".into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::NotReady(_) | Self::ShuttingDown | Self::MemoryInUse | Self::TooManyClients => {
                Some(Duration::from_secs(2))
            }
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.body();
        self.with_body(&body)
    }
}

impl ApiError {
    /// The answer with another body.
    pub(crate) fn with_body(self, body: &serde_json::Value) -> Response {
        let mut response = (self.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::UnsupportedCoding(_) => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
            }
            _ => {}
        }
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, after.as_secs().max(1).into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The start of a client's text.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

impl From<epitome_runtime::Error> for ApiError {
    fn from(error: epitome_runtime::Error) -> Self {
        use epitome_runtime::Error;
        match error {
            Error::Parameter(error) => Self::BadParameter { line: None, error },
            Error::EmptyText { .. } => Self::BadRequest(error.to_string()),
            _ => Self::ModelFailed(error.to_string()),
        }
    }
}
