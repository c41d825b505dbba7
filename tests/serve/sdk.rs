//! Tests of the AWS SDK for Rust against local mode. A client of a real endpoint must work
//! unchanged.

use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_sagemakerruntime::error::ProvideErrorMetadata;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint_with_response_stream as stream;
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_sdk_sagemakerruntime::types::ResponseStream;
use serde_json::{Value, json};

use super::TEXT;
use super::client::Server;

/// A client with made-up keys, because there is no account.
fn client(server: &Server) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(format!("http://{}", server.address))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn body(parameters: Value, stream: bool) -> Blob {
    let body = json!({"inputs": TEXT, "parameters": parameters, "stream": stream});
    Blob::new(body.to_string())
}

fn summary(json: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(json).unwrap();
    super::summary_of(&answer).to_owned()
}

#[test]
fn the_tutorials_calls_are_answered() {
    let server = Server::tiny(&[]);
    run(async {
        let client = client(&server);
        for penalty in [0.6, 1.5] {
            let output = client
                .invoke_endpoint()
                .endpoint_name("my-endpoint")
                .content_type("application/json")
                .accept("application/json")
                .custom_attributes("request=1")
                .body(body(json!({"length_penalty": penalty}), false))
                .send()
                .await
                .unwrap();
            assert_eq!(output.content_type(), Some("application/json"));
            assert_eq!(output.custom_attributes(), Some("request=1"));
            assert_eq!(output.invoked_production_variant(), Some("AllTraffic"));
            let alone =
                server.invoke(&json!({"inputs": TEXT, "parameters": {"length_penalty": penalty}}));
            assert_eq!(summary(output.body().unwrap().as_ref()), super::summary_of(&alone.json()));
        }
    });
}

#[test]
fn a_stream_arrives_in_parts_and_joins_to_the_summary() {
    let server = Server::tiny(&[]);
    let greedy = json!({"num_beams": 1, "max_new_tokens": 16});
    let whole = server.invoke(&json!({"inputs": TEXT, "parameters": greedy})).json();
    run(async {
        let output = client(&server)
            .invoke_endpoint_with_response_stream()
            .endpoint_name("my-endpoint")
            .content_type("application/json")
            .accept("text/plain")
            .body(body(greedy, true))
            .send()
            .await
            .unwrap();
        assert_eq!(output.content_type(), Some("text/plain"));
        let mut events = output.body;
        let mut parts = Vec::new();
        while let Some(event) = events.recv().await.unwrap() {
            match event {
                ResponseStream::PayloadPart(part) => parts.push(part.bytes.unwrap().into_inner()),
                other => panic!("{other:?}"),
            }
        }
        assert!(parts.len() > 1, "it came all at once");
        let text = String::from_utf8(parts.concat()).unwrap();
        assert_eq!(text.strip_suffix('\n'), Some(super::summary_of(&whole)));
    });
}

#[test]
fn errors_of_the_container_arrive_as_model_errors() {
    let server = Server::tiny(&[]);
    run(async {
        let client = client(&server);
        let bad = || body(json!({"num_beam": 4}), false);
        let error = client.invoke_endpoint().endpoint_name("a").body(bad()).send().await;
        match error.unwrap_err().into_service_error() {
            InvokeEndpointError::ModelError(error) => {
                assert_eq!(error.original_status_code(), Some(400));
                let original: Value =
                    serde_json::from_str(error.original_message().unwrap()).unwrap();
                assert!(original["message"].as_str().unwrap().contains("did you mean `num_beams`"));
            }
            other => panic!("{other:?}"),
        }
        let error = client
            .invoke_endpoint_with_response_stream()
            .endpoint_name("a")
            .body(bad())
            .send()
            .await;
        let error = error.unwrap_err().into_service_error();
        let is_model_error =
            matches!(error, stream::InvokeEndpointWithResponseStreamError::ModelError(_));
        assert!(is_model_error, "{error:?}");
        let error = client.invoke_endpoint().endpoint_name("-").body(bad()).send().await;
        assert_eq!(error.unwrap_err().code(), Some("ValidationError"));
    });
}
