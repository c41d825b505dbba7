//! Calls of an endpoint, in AWS or on this machine.

use std::error::Error as StdError;

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sagemakerruntime::operation::{
    invoke_endpoint::InvokeEndpointError, invoke_endpoint_async::InvokeEndpointAsyncError,
    invoke_endpoint_with_response_stream::InvokeEndpointWithResponseStreamError,
};
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_sdk_sagemakerruntime::types::ResponseStream;
use aws_sdk_sagemakerruntime::types::error::ModelError;
use epitome_runtime::error::innermost;
use serde_json::{Map, Value, json};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::uri::S3Uri;

const JSON: &str = "application/json";
/// Region for signatures of calls to a server on this machine.
const LOCAL_REGION: &str = "us-east-1";

/// Client of one endpoint.
pub struct Invoker {
    connection: Connection,
    client: Client,
    endpoint: String,
}

impl Invoker {
    /// Creates a client of the endpoint `endpoint`. With `url` it calls that server in place of
    /// AWS: `epitome serve` answers like AWS, and accepts any credentials.
    ///
    /// # Errors
    /// If AWS is called and the region or credentials are missing.
    pub fn new(connection: &Connection, endpoint: &str, url: Option<&str>) -> Result<Self> {
        // A summary may take longer than the timeout for stalled downloads.
        let mut builder = Builder::from(connection.config())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match connection.region() {
            Err(Error::NoRegion) if url.is_some() => {
                builder = builder.region(Region::new(LOCAL_REGION));
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        match connection.runtime().block_on(connection.credentials()) {
            Ok(_) => {}
            Err(_) if url.is_some() => {
                let any = Credentials::new("local", "local", None, None, "local");
                builder = builder.credentials_provider(any);
            }
            Err(error) => return Err(error),
        }
        if let Some(url) = url {
            builder = builder.endpoint_url(url);
        }
        Ok(Self {
            connection: connection.clone(),
            client: Client::from_conf(builder.build()),
            endpoint: endpoint.into(),
        })
    }

    /// The summaries of one text, best first.
    ///
    /// # Errors
    /// Errors of AWS and of the container.
    pub fn summarize(&self, text: &str, parameters: &Map<String, Value>) -> Result<Vec<String>> {
        let body = json!({"inputs": text, "parameters": parameters});
        self.read_answer(&self.call(body.to_string().into_bytes())?)
    }

    /// The raw answer to a JSON body.
    ///
    /// # Errors
    /// Errors of AWS and of the container.
    pub fn call(&self, body: Vec<u8>) -> Result<Vec<u8>> {
        let call = self
            .client
            .invoke_endpoint()
            .endpoint_name(&self.endpoint)
            .content_type(JSON)
            .accept(JSON)
            .body(Blob::new(body));
        let answer = self.connection.runtime().block_on(call.send());
        let answer = answer.map_err(|error| self.failure("InvokeEndpoint", error))?;
        Ok(answer.body.map(Blob::into_inner).unwrap_or_default())
    }

    /// Makes an asynchronous endpoint work on a request on S3.
    ///
    /// # Errors
    /// Errors of AWS.
    pub fn call_async(&self, request: &S3Uri, id: &str) -> Result<AsyncCall> {
        const OPERATION: &str = "InvokeEndpointAsync";
        let call = self
            .client
            .invoke_endpoint_async()
            .endpoint_name(&self.endpoint)
            .content_type(JSON)
            .accept(JSON)
            .inference_id(id)
            .input_location(request.to_string());
        let answer = self.connection.runtime().block_on(call.send());
        let answer = answer.map_err(|error| self.failure(OPERATION, error))?;
        let place = |place: Option<String>| place.map(|place| place.parse()).transpose();
        let answers = place(answer.output_location)?.ok_or_else(|| Error::BadAnswer {
            url: format!("endpoint {}", self.endpoint),
            operation: OPERATION.into(),
            problem: "no OutputLocation".into(),
        })?;
        Ok(AsyncCall { output: answers, failure: place(answer.failure_location)? })
    }

    /// The summaries in an answer of an asynchronous endpoint, best first.
    ///
    /// # Errors
    /// If the answer has none.
    pub fn read_answer(&self, bytes: &[u8]) -> Result<Vec<String>> {
        summaries(bytes).ok_or_else(|| {
            let start: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
            Error::Failed(format!("endpoint {} answered no summaries, but: {start}", self.endpoint))
        })
    }

    /// The summary of one text, piece by piece while it is decoded.
    ///
    /// # Errors
    /// Fails as [`summarize`](Self::summarize) does, or when the stream breaks off.
    pub fn stream(
        &self,
        text: &str,
        parameters: &Map<String, Value>,
        piece: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let body = json!({"inputs": text, "parameters": parameters, "stream": true});
        self.call_streaming(body.to_string().into_bytes(), "text/plain", &mut |bytes| {
            piece(bytes);
            true
        })
    }

    /// The answer to a JSON body in the format `accept`, piece by piece, until `piece` returns
    /// false.
    ///
    /// # Errors
    /// Fails as [`call`](Self::call) does, or when the stream breaks off.
    pub fn call_streaming(
        &self,
        body: Vec<u8>,
        accept: &str,
        piece: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        const OPERATION: &str = "InvokeEndpointWithResponseStream";
        let call = self
            .client
            .invoke_endpoint_with_response_stream()
            .endpoint_name(&self.endpoint)
            .content_type(JSON)
            .accept(accept)
            .body(Blob::new(body));
        self.connection.runtime().block_on(async {
            let answer = call.send().await;
            let mut pieces = answer.map_err(|error| self.failure(OPERATION, error))?.body;
            loop {
                match pieces.recv().await {
                    Ok(Some(ResponseStream::PayloadPart(part))) => {
                        if !piece(part.bytes().map_or(&[][..], Blob::as_ref)) {
                            return Ok(());
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        let message = error.into_service_error();
                        return Err(Error::Failed(format!(
                            "the stream of endpoint {} broke off: {}",
                            self.endpoint,
                            message.message().map_or_else(|| innermost(&message), str::to_owned)
                        )));
                    }
                }
            }
        })
    }

    fn failure<E>(&self, operation: &str, error: SdkError<E>) -> Error
    where
        E: StdError + ProvideErrorMetadata + OfModel + 'static,
    {
        match &error {
            SdkError::ServiceError(service) => {
                if let Some(error) = service.err().of_model() {
                    return model_failure(error);
                }
                let refused = service.err();
                let code = refused.code().unwrap_or("no code");
                Error::of_credentials(code).unwrap_or_else(|| Error::Refused {
                    operation: operation.into(),
                    code: code.into(),
                    message: refused.message().unwrap_or_default().into(),
                    status: service.raw().status().as_u16(),
                })
            }
            error => Error::Unreachable {
                target: format!("endpoint {}", self.endpoint),
                operation: operation.into(),
                problem: innermost(error),
            },
        }
    }
}

/// The result of an asynchronous call, by its addresses on S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncCall {
    /// Address of the answer.
    pub output: S3Uri,
    /// Address of the error, if there is no answer.
    pub failure: Option<S3Uri>,
}

/// An error that may come from the container.
trait OfModel {
    fn of_model(&self) -> Option<&ModelError>;
}

impl OfModel for InvokeEndpointError {
    fn of_model(&self) -> Option<&ModelError> {
        match self {
            Self::ModelError(error) => Some(error),
            _ => None,
        }
    }
}

impl OfModel for InvokeEndpointAsyncError {
    fn of_model(&self) -> Option<&ModelError> {
        None
    }
}

impl OfModel for InvokeEndpointWithResponseStreamError {
    fn of_model(&self) -> Option<&ModelError> {
        match self {
            Self::ModelError(error) => Some(error),
            _ => None,
        }
    }
}

fn model_failure(error: &ModelError) -> Error {
    let original = error.original_message().or(error.message()).unwrap_or_default();
    // Extracts the container's message from its JSON.
    let body: Value = serde_json::from_str(original).unwrap_or_default();
    Error::Model {
        status: error.original_status_code().and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
        message: body["message"].as_str().unwrap_or(original).to_owned(),
        log: error.log_stream_arn().filter(|arn| !arn.is_empty()).map(str::to_owned),
    }
}

/// The texts in an answer: an object or a list of objects, with the field of transformers'
/// pipelines.
fn summaries(bytes: &[u8]) -> Option<Vec<String>> {
    let of_one = |answer: &Value| {
        let text = answer["summary_text"].as_str().or(answer["generated_text"].as_str());
        text.map(str::to_owned)
    };
    match serde_json::from_slice(bytes).ok()? {
        Value::Array(answers) if !answers.is_empty() => answers.iter().map(of_one).collect(),
        answer => Some(vec![of_one(&answer)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_containers_answers_are_read() {
        for (body, texts) in [
            (r#"[{"summary_text":"a"}]"#, Some(vec!["a"])),
            (r#"[{"generated_text":"a"},{"generated_text":"b"}]"#, Some(vec!["a", "b"])),
            (r#"{"generated_text":"a"}"#, Some(vec!["a"])),
            ("[]", None),
            (r#"{"error":"no"}"#, None),
            ("<html>", None),
        ] {
            let texts = texts.map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(summaries(body.as_bytes()), texts, "{body}");
        }
    }

    #[test]
    fn the_containers_words_are_told_as_they_are() {
        let error = ModelError::builder()
            .message("Received client error (400) from primary with message ...")
            .original_message(r#"{"code":400,"message":"num_beams must be at least 1"}"#)
            .original_status_code(400)
            .log_stream_arn("arn:aws:logs:1")
            .build();
        assert_eq!(
            model_failure(&error).to_string(),
            "the container answered with status 400: num_beams must be at least 1"
        );
        let error = ModelError::builder()
            .original_message("worker died")
            .original_status_code(500)
            .log_stream_arn("arn:aws:logs:1")
            .build();
        assert_eq!(
            model_failure(&error).to_string(),
            "the container answered with status 500: worker died (its log: arn:aws:logs:1)"
        );
    }
}
