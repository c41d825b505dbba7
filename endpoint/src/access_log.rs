//! The access log: one line for each request, with its id. Also counts requests in the metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use crate::context::Context;
use crate::error::ApiError;
use crate::path_name::PROBES;

/// Header with the id of a request. The client may set it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Longest id in bytes. A longer id is replaced.
const MAX_ID: usize = 128;
/// Status of a request whose client closed the connection before the answer, as nginx logs it.
const HUNG_UP: u16 = 499;

/// Follows a request from its head to its answer's head.
pub(crate) async fn follow(
    State(context): State<Arc<Context>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= MAX_ID && id.to_str().is_ok())
        .cloned()
        .unwrap_or_else(new_id);
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or("other", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %route);
    let mut record =
        Record { context, route, started: Instant::now(), span: span.clone(), answered: false };
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let failure = response.extensions_mut().remove::<ApiError>();
    record.answered(response.status().as_u16(), failure);
    response
}

fn new_id() -> HeaderValue {
    let id = Uuid::new_v4().to_string();
    HeaderValue::from_str(&id).expect("an id of hexadecimal digits")
}

/// Logs the outcome of a request. Without an outcome when it is dropped, the client hung up.
struct Record {
    context: Arc<Context>,
    route: String,
    started: Instant,
    span: tracing::Span,
    answered: bool,
}

impl Record {
    fn answered(&mut self, code: u16, failure: Option<ApiError>) {
        self.answered = true;
        let took = self.started.elapsed();
        self.context.metrics.answered(&self.route, code, took);
        let _entered = self.span.enter();
        let seconds = took.as_secs_f64();
        // Health checks and metrics are requested every few seconds, and would drown the rest.
        let route = self.route.as_str();
        let routine = (route == "/metrics" || PROBES.contains(&route)) && code < 500;
        let log_text = self.context.settings.server.log_text;
        let reason = failure.map(|error| match log_text {
            true => error.to_string(),
            false => error.without_texts(),
        });
        match reason {
            Some(reason) if code >= 500 => tracing::error!(code, seconds, reason, "failed"),
            Some(reason) => tracing::warn!(code, seconds, reason, "refused"),
            None if routine => tracing::debug!(code, seconds, "answered"),
            None => tracing::info!(code, seconds, "answered"),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.answered {
            let took = self.started.elapsed();
            self.context.metrics.answered(&self.route, HUNG_UP, took);
            let _entered = self.span.enter();
            tracing::info!(code = HUNG_UP, seconds = took.as_secs_f64(), "the client hung up");
        }
    }
}
