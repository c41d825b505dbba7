//! Other endpoints, which the page calls in place of a model of this process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::backend::{Backend, BoxFuture, TokenCount, target};
use crate::blocking_pool::{self, Stop};
use crate::body;
use crate::context::Context;
use crate::error::ApiError;
use crate::media::{self, Format, MediaType};
use crate::path_name::{EndpointName, is_endpoint_name};
use crate::scheduler::Health;

/// Largest number of running calls.
const MAX_CALLS: usize = 16;

/// The endpoints of an account. All calls block.
pub trait Endpoints: Send + Sync {
    /// Names of the endpoints, the default one first. Also the reason why the list may be
    /// incomplete.
    fn names(&self) -> (Vec<String>, Option<String>);

    /// Forwards a JSON body to the endpoint. Passes each piece of the answer and the content type
    /// of the whole answer to `piece`, which returns whether the client still waits.
    ///
    /// # Errors
    /// If the endpoint refuses the call, or cannot be reached.
    fn invoke(
        &self,
        call: &EndpointCall,
        piece: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), EndpointError>;
}

/// A call of an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointCall {
    /// The endpoint's name.
    pub endpoint: String,
    /// JSON object with `inputs` and `parameters`.
    pub body: Bytes,
    /// Whether the answer is a stream of events, token by token.
    pub stream: bool,
}

/// The error of a call.
#[derive(Debug)]
pub struct EndpointError {
    /// Status code of the container, if it was reached.
    pub status: Option<u16>,
    /// Message of one sentence.
    pub message: String,
}

impl From<EndpointError> for ApiError {
    fn from(error: EndpointError) -> Self {
        let status = error.status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.filter(|status| status.is_client_error() || status.is_server_error());
        Self::Endpoint { status: status.unwrap_or(StatusCode::BAD_GATEWAY), message: error.message }
    }
}

/// Backend that forwards requests to other endpoints.
pub(crate) struct Deployed {
    context: Arc<Context>,
    endpoints: Arc<dyn Endpoints>,
    calls: Arc<Semaphore>,
}

impl Deployed {
    pub(crate) fn new(context: Arc<Context>, endpoints: Arc<dyn Endpoints>) -> Self {
        Self { context, endpoints, calls: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    async fn names(&self, deadline: Instant) -> Result<(Vec<String>, Option<String>), ApiError> {
        let endpoints = self.endpoints.clone();
        blocking_pool::run(0, deadline, move |_: &Stop| Ok(endpoints.names())).await
    }

    /// The endpoint of a request.
    async fn target(&self, parts: &Parts, deadline: Instant) -> Result<String, ApiError> {
        if let Some(EndpointName(name)) = parts.extensions.get() {
            return Ok(name.clone());
        }
        match target(&parts.headers) {
            Some(name) if is_endpoint_name(name) => Ok(name.to_owned()),
            Some(name) => Err(ApiError::NoSuchModel(name.into())),
            None => {
                let (names, problem) = self.names(deadline).await?;
                let none = || problem.unwrap_or_else(|| "no endpoint is in service".into());
                names.into_iter().next().ok_or_else(|| ApiError::NotReady(none()))
            }
        }
    }

    async fn call(&self, request: Request<Body>) -> Result<Response, ApiError> {
        let deadline = self.context.deadline();
        let (parts, body) = request.into_parts();
        let mut charge = self.context.in_flight.open();
        let limit = self.context.settings.contract.max_body;
        let body = body::read(body, limit, deadline, &mut charge).await?;
        if media::sent(&parts.headers)? != Format::Json {
            return Err(ApiError::BadRequest("endpoints are asked in application/json".into()));
        }
        let accept = media::accepted(&parts.headers, Format::Json)?;
        let stream = accept.format == Format::EventStream;
        let endpoint = self.target(&parts, deadline).await?;
        let turn = self.calls.clone().try_acquire_owned().map_err(|_| ApiError::TooManyClients)?;
        let call = EndpointCall { endpoint, body, stream };
        let endpoints = self.endpoints.clone();
        let (pieces, mut answer) = unbounded_channel();
        let run = move || {
            pass_on(&*endpoints, &call, &pieces);
            drop((turn, charge));
        };
        std::thread::Builder::new()
            .name("endpoint-call".into())
            .spawn(run)
            .map_err(|_| ApiError::WorkerFailed)?;
        // An error before the first piece still gets its status code.
        match self.context.before(deadline, answer.recv()).await? {
            Some(Piece::Head(content_type)) => {
                let format = Format::of(content_type.split(';').next().unwrap_or_default());
                let body = match format {
                    Some(Format::EventStream) => events(answer),
                    _ => Body::from(self.context.before(deadline, whole(answer)).await??),
                };
                Ok(response(format, body))
            }
            Some(Piece::Failed(error)) => Err(error),
            Some(Piece::Bytes(_)) | None => Err(ApiError::WorkerFailed),
        }
    }
}

impl Backend for Deployed {
    fn health(&self) -> Health {
        Health::Ready
    }

    fn describe(&self) -> BoxFuture<'_, Map<String, Value>> {
        Box::pin(async move {
            let (names, problem) = self.names(self.context.deadline()).await?;
            let models = names.iter().map(|name| json!({"name": name, "ready": true}));
            let mut fields = Map::new();
            fields.insert("backend".into(), "deployed".into());
            fields.insert("models".into(), models.collect());
            fields.insert("named".into(), true.into());
            fields.insert("problem".into(), problem.into());
            Ok(fields)
        })
    }

    fn invoke(&self, request: Request<Body>) -> BoxFuture<'_, Response> {
        Box::pin(self.call(request))
    }

    fn count_tokens(
        &self,
        _headers: HeaderMap,
        _text: String,
        _deadline: Instant,
    ) -> BoxFuture<'_, Option<TokenCount>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A part of an answer.
enum Piece {
    /// The content type of the answer.
    Head(String),
    Bytes(Bytes),
    Failed(ApiError),
}

/// Makes a call, and sends the pieces of its answer on. Blocks.
fn pass_on(endpoints: &dyn Endpoints, call: &EndpointCall, pieces: &UnboundedSender<Piece>) {
    let mut started = false;
    // Sending never blocks: a client of AWS may call this from within its own runtime.
    let send = |piece| pieces.send(piece).is_ok();
    let result = endpoints.invoke(call, &mut |content_type, bytes| {
        let has_head = std::mem::replace(&mut started, true);
        (has_head || send(Piece::Head(content_type.to_owned())))
            && send(Piece::Bytes(Bytes::copy_from_slice(bytes)))
    });
    if let Err(error) = result {
        send(Piece::Failed(error.into()));
    }
}

/// An answer that is streamed.
fn events(answer: UnboundedReceiver<Piece>) -> Body {
    let pieces = UnboundedReceiverStream::new(answer).map(|piece| match piece {
        Piece::Head(_) => Bytes::new(),
        Piece::Bytes(bytes) => bytes,
        Piece::Failed(error) => format!("data: {}\n\n", error.body()).into(),
    });
    Body::from_stream(pieces.map(Ok::<_, Infallible>))
}

/// Collects the whole answer.
async fn whole(mut answer: UnboundedReceiver<Piece>) -> Result<Vec<u8>, ApiError> {
    let mut all = Vec::new();
    while let Some(piece) = answer.recv().await {
        match piece {
            Piece::Head(_) => {}
            Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
            Piece::Failed(error) => return Err(error),
        }
    }
    Ok(all)
}

fn response(format: Option<Format>, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // The answer of an endpoint is data and must not be shown as a page.
    let content_type =
        format.map_or("application/octet-stream", |format| MediaType::from(format).name);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
