//! SageMaker's runtime API for AWS SDKs (boto3 and others) whose endpoint URL is this server.

pub(crate) mod asynchronous;

use std::sync::Arc;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue as FrameValue, Message};
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::app::App;
use crate::backend::TARGET_MODEL;
use crate::error::ApiError;
use crate::path_name::{EndpointName, MAX_ENDPOINT_NAME, Name, is_endpoint_name};

/// Header with the class of an error, which SDKs read.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// Header with the variant that answered.
const VARIANT: HeaderName = HeaderName::from_static("x-amzn-invoked-production-variant");
/// Name of the only variant.
const ALL_TRAFFIC: &str = "AllTraffic";
/// Header with the requested variant.
const TARGET_VARIANT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-variant");
/// Header with the requested inference component.
const INFERENCE_COMPONENT: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-inference-component");
/// Header with the content type of the wrapped body.
const WRAPPED_TYPE: HeaderName = HeaderName::from_static("x-amzn-sagemaker-content-type");
/// Header with the accepted content type of the wrapped body.
const WRAPPED_ACCEPT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-accept");
/// Largest error body in bytes that is passed on.
const MAX_ERROR_BODY: usize = 64 << 10;

/// `POST /endpoints/{name}/invocations`
pub(crate) async fn invocations(
    State(app): State<Arc<App>>,
    name: Result<Name, ApiError>,
    request: Request<Body>,
) -> Response {
    match answer(&app, name, request).await {
        Ok(response) | Err(response) => response,
    }
}

/// `POST /endpoints/{name}/invocations-response-stream`
pub(crate) async fn invocations_response_stream(
    State(app): State<Arc<App>>,
    name: Result<Name, ApiError>,
    mut request: Request<Body>,
) -> Response {
    // Here `Accept` is the type of the frames. Their content has its own header.
    let headers = request.headers_mut();
    headers.remove(ACCEPT);
    if let Some(accept) = headers.remove(WRAPPED_ACCEPT) {
        headers.insert(ACCEPT, accept);
    }
    let response = match answer(&app, name, request).await {
        Ok(response) => response,
        Err(response) => return response,
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let stream = HeaderValue::from_static("application/vnd.amazon.eventstream");
    if let Some(content_type) = parts.headers.insert(CONTENT_TYPE, stream) {
        parts.headers.insert(WRAPPED_TYPE, content_type);
    }
    let frames = body.into_data_stream().map(|piece| match piece {
        Ok(bytes) => frame(&payload_part(bytes)),
        Err(error) => frame(&stream_error(&error.to_string())),
    });
    Response::from_parts(parts, Body::from_stream(frames))
}

/// The container's answer. Errors get the form of AWS.
async fn answer(
    app: &Arc<App>,
    name: Result<Name, ApiError>,
    mut request: Request<Body>,
) -> Result<Response, Response> {
    let name = is_endpoint(name).map_err(|message| validation_error(&message))?;
    if let Err(message) = targets(app, request.headers()) {
        return Err(validation_error(message));
    }
    request.extensions_mut().insert(EndpointName(name));
    let result = app.backend.invoke(request).await;
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    if response.status().is_success() {
        response.headers_mut().insert(VARIANT, HeaderValue::from_static(ALL_TRAFFIC));
        return Ok(response);
    }
    match response.extensions().get() {
        // AWS checks the model before it calls the container.
        Some(missing @ ApiError::NoSuchModel(_)) => Err(validation_error(&missing.to_string())),
        _ => Err(model_error(response).await),
    }
}

/// The name in the path, if it is a valid endpoint name.
fn is_endpoint(name: Result<Name, ApiError>) -> Result<String, String> {
    let name = name.ok().filter(|Name(name)| is_endpoint_name(name));
    name.map(|Name(name)| name).ok_or_else(|| {
        format!(
            "the path names no endpoint: a name is up to {MAX_ENDPOINT_NAME} letters, digits and \
             hyphens"
        )
    })
}

/// Checks that the variant, component and model of the headers exist.
fn targets(app: &App, headers: &HeaderMap) -> Result<(), &'static str> {
    let is_other = |variant: &HeaderValue| variant != ALL_TRAFFIC;
    if headers.get(TARGET_VARIANT).is_some_and(is_other) {
        return Err("the endpoint has no such variant: there is AllTraffic alone");
    }
    if headers.contains_key(INFERENCE_COMPONENT) {
        return Err("the endpoint has no inference components: leave the component's name out");
    }
    if headers.contains_key(TARGET_MODEL) && app.registry.is_none() {
        return Err("the endpoint has one model: leave the target model out");
    }
    Ok(())
}

/// An error that AWS itself answers.
fn validation_error(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "ValidationError", &json!({"Message": message}))
}

async fn model_error(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ERROR_BODY).await.unwrap_or_default();
    let original = String::from_utf8_lossy(&body);
    let code = parts.status.as_u16();
    let (side, error_code) = if parts.status.is_client_error() {
        ("client", "CLIENT_ERROR_FROM_MODEL")
    } else {
        ("server", "SERVER_ERROR_FROM_MODEL")
    };
    let body = json!({
        "ErrorCode": error_code,
        "LogStreamArn": "",
        "Message": format!(
            "Received {side} error ({code}) from primary with message \"{original}\"."
        ),
        "OriginalMessage": original,
        "OriginalStatusCode": code,
    });
    let mut response = error(StatusCode::FAILED_DEPENDENCY, "ModelError", &body);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    response.headers_mut().extend(parts.headers);
    response.extensions_mut().extend(parts.extensions);
    response
}

fn error(status: StatusCode, kind: &'static str, body: &serde_json::Value) -> Response {
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(name: &'static str, value: &'static str) -> Header {
    Header::new(name, FrameValue::String(value.into()))
}

fn payload_part(bytes: Bytes) -> Message {
    Message::new(bytes)
        .add_header(text(":message-type", "event"))
        .add_header(text(":event-type", "PayloadPart"))
        .add_header(text(":content-type", "application/octet-stream"))
}

fn stream_error(message: &str) -> Message {
    let body = json!({"ErrorCode": "ModelStreamError", "Message": message});
    Message::new(body.to_string())
        .add_header(text(":message-type", "exception"))
        .add_header(text(":exception-type", "ModelStreamError"))
        .add_header(text(":content-type", "application/json"))
}

fn frame(message: &Message) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    write_message_to(message, &mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::read_message_from;

    use super::*;

    #[test]
    fn frames_are_read_back() {
        let bytes = frame(&payload_part(Bytes::from_static(b"text"))).unwrap();
        let message = read_message_from(bytes).unwrap();
        assert_eq!(message.payload().as_ref(), b"text");
        assert_eq!(message.headers().len(), 3);
    }
}
