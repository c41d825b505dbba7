//! `POST /endpoints/{name}/async-invocations`: InvokeEndpointAsync of local mode.
//!
//! The input is an object on S3. The output is an object that appears later.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{WRAPPED_ACCEPT, WRAPPED_TYPE, error, is_endpoint, targets, validation_error};
use crate::app::App;
use crate::error::ApiError;
use crate::invoke::CUSTOM_ATTRIBUTES;
use crate::objects::{MAX_CALLS, Objects};
use crate::path_name::{EndpointName, Name};

const INPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inputlocation");
const INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
const OUTPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-outputlocation");
const FAILURE_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-failurelocation");
/// Longest answer in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// An accepted call.
struct Call {
    app: Arc<App>,
    objects: Arc<dyn Objects>,
    running: Arc<Semaphore>,
    endpoint: String,
    headers: HeaderMap,
    input: String,
    output: String,
    failure: String,
    _turn: OwnedSemaphorePermit,
}

/// Accepts a call. A header has the address where the answer will appear.
pub(crate) async fn invocations(
    State(app): State<Arc<App>>,
    name: Result<Name, ApiError>,
    request: Request<Body>,
) -> Response {
    accept(app, name, request.headers()).unwrap_or_else(|refusal| *refusal)
}

fn accept(
    app: Arc<App>,
    name: Result<Name, ApiError>,
    headers: &HeaderMap,
) -> Result<Response, Box<Response>> {
    let refused = |message: &str| Box::new(validation_error(message));
    let endpoint = is_endpoint(name).map_err(|message| refused(&message))?;
    targets(&app, headers).map_err(refused)?;
    let input = text(headers, INPUT_LOCATION).unwrap_or_default();
    let bucket = input.strip_prefix("s3://").and_then(|rest| Some(rest.split_once('/')?.0));
    let bucket = bucket.ok_or_else(|| refused("InputLocation must be s3://BUCKET/KEY"))?;
    let Some(calls) = &app.async_calls else {
        return Err(refused("this server reads nothing from S3: it was built without it"));
    };
    let turn = calls.turns.clone().try_acquire_owned().map_err(|_| {
        let body = json!({"Message": format!("{MAX_CALLS} calls are waiting: try again later")});
        Box::new(error(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", &body))
    })?;
    let own = || Uuid::new_v4().to_string();
    let id = text(headers, INFERENCE_ID).map_or_else(own, str::to_owned);
    let file = own();
    let output = format!("s3://{bucket}/async-endpoint-outputs/{endpoint}/{file}.out");
    let failure = format!("s3://{bucket}/async-endpoint-failures/{endpoint}/{file}-error.out");
    let mut response =
        (StatusCode::ACCEPTED, json!({"InferenceId": id}).to_string()).into_response();
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, address) in [(OUTPUT_LOCATION, &output), (FAILURE_LOCATION, &failure)] {
        head.insert(
            name,
            HeaderValue::try_from(address)
                .map_err(|_| refused("InputLocation must be visible ASCII"))?,
        );
    }
    let mut passed_on = HeaderMap::new();
    for (from, to) in [
        (WRAPPED_TYPE, CONTENT_TYPE),
        (WRAPPED_ACCEPT, ACCEPT),
        (CUSTOM_ATTRIBUTES, CUSTOM_ATTRIBUTES),
    ] {
        if let Some(value) = headers.get(from) {
            passed_on.insert(to, value.clone());
        }
    }
    let call = Call {
        objects: calls.objects.clone(),
        running: calls.running.clone(),
        app,
        endpoint,
        headers: passed_on,
        input: input.to_owned(),
        output,
        failure,
        _turn: turn,
    };
    tokio::spawn(call.run());
    Ok(response)
}

/// The value of a header, if it is visible ASCII.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Call {
    async fn run(self) {
        // Acquiring fails only if the semaphore is closed, which never happens.
        let _running = self.running.acquire().await;
        let (address, body) = match self.answer().await {
            Ok(body) => (self.output.clone(), body),
            Err(problem) => (self.failure.clone(), problem),
        };
        let put = self.blocking(move |objects| objects.put(&address, &body)).await;
        if let Err(reason) = put {
            tracing::error!(reason, "the output of an asynchronous call cannot be written");
        }
    }

    /// The body of the answer. `Err` has the body of the error.
    async fn answer(&self) -> Result<Bytes, Bytes> {
        let limit = self.app.context.settings.contract.max_body;
        let input = self.input.clone();
        let body = self.blocking(move |objects| objects.get(&input, limit)).await?;
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(EndpointName(self.endpoint.clone()));
        let answer = self.app.backend.invoke(request).await;
        let answer = answer.unwrap_or_else(IntoResponse::into_response);
        let is_success = answer.status().is_success();
        let body = to_bytes(answer.into_body(), MAX_ANSWER).await;
        let body = body.map_err(|error| Bytes::from(error.to_string()))?;
        if is_success { Ok(body) } else { Err(body) }
    }

    /// Runs a call of S3 on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Objects) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let objects = self.objects.clone();
        let (send, receive) = tokio::sync::oneshot::channel();
        // Uses a separate thread: a slow bucket must not delay the reading of bodies.
        let thread = std::thread::Builder::new().name("s3".into());
        let spawned = thread.spawn(move || drop(send.send(work(&*objects))));
        spawned.map_err(|error| error.to_string())?;
        receive.await.unwrap_or_else(|_| Err("reading from S3 failed".into()))
    }
}
