//! `POST /v1/chat/completions` and `GET /v1/models`: what clients of OpenAI ask.
//!
//! The last message of the user is the document, and the answer its summary.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epitome_runtime::Summary;
use epitome_runtime::generation::StopReason;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::contract::ChatRequest;
use crate::error::ApiError;
use crate::path_name::Name;
use crate::scheduler::Token;
use crate::stream::{Sent, Writer};

/// `POST /v1/chat/completions`
pub(crate) async fn completions(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let answer = app.backend.complete(parts.headers, body).await;
    answer.unwrap_or_else(refusal)
}

/// `GET /v1/models`
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let models: Vec<Value> = app.backend.model_names().iter().map(|name| model(name)).collect();
    json_response(&json!({"object": "list", "data": models}))
}

/// `GET /v1/models/{name}`
pub(crate) async fn show_model(
    State(app): State<Arc<App>>,
    name: Result<Name, ApiError>,
) -> Response {
    match name {
        Ok(Name(name)) if app.backend.model_names().contains(&name) => json_response(&model(&name)),
        Ok(Name(name)) => refusal(ApiError::NoSuchModel(name)),
        Err(error) => refusal(error),
    }
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "epitome"})
}

fn json_response(value: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], value.to_string()).into_response()
}

/// An error as OpenAI's clients read it.
fn refusal(error: ApiError) -> Response {
    let body = error_body(&error);
    error.with_body(&body)
}

fn error_body(error: &ApiError) -> Value {
    let kind = match error.status().as_u16() {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": error.to_string(), "type": kind, "param": null, "code": null}})
}

/// What all pieces of one answer share.
pub(crate) struct Completion {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

impl Completion {
    /// An answer to a request, from the model under this name.
    pub(crate) fn new(model: String, request: &ChatRequest) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            id: format!("chatcmpl-{}", Uuid::new_v4().simple()),
            created: now.unwrap_or(Duration::ZERO).as_secs(),
            model,
            include_usage: request.include_usage,
        }
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// The whole answer; `text` gives the text of a sequence.
    pub(crate) fn whole(&self, summary: &Summary, texts: Vec<String>) -> Value {
        let choice = |(index, content): (usize, String)| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": content, "refusal": null},
                "logprobs": null,
                "finish_reason": finish_reason(summary),
            })
        };
        let choices: Vec<Value> = texts.into_iter().enumerate().map(choice).collect();
        let mut answer = self.object("chat.completion", choices.into());
        answer["usage"] = usage(summary);
        answer
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        let mut chunk = self.object("chat.completion.chunk", choices);
        if self.include_usage {
            chunk["usage"] = usage.into();
        }
        format!("data: {chunk}\n\n")
    }

    fn delta(&self, delta: Value, finish_reason: Option<&str>) -> String {
        let choice = json!({
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
        });
        self.chunk(json!([choice]), None)
    }
}

fn finish_reason(summary: &Summary) -> &'static str {
    match summary.stopped {
        StopReason::Finished => "stop",
        _ => "length",
    }
}

fn usage(summary: &Summary) -> Value {
    let generated = |length: usize| length.saturating_sub(1);
    let sequences = summary.sequences.iter();
    let completion: usize = sequences.map(|sequence| generated(sequence.token_ids.len())).sum();
    json!({
        "prompt_tokens": summary.input_tokens,
        "completion_tokens": completion,
        "total_tokens": summary.input_tokens + completion,
    })
}

/// Writes an answer in chunks.
pub(crate) struct Chunks {
    completion: Completion,
    sent: Sent,
    has_begun: bool,
}

impl Chunks {
    pub(crate) fn new(completion: Completion) -> Self {
        Self { completion, sent: Sent::default(), has_begun: false }
    }

    /// A piece of text; the first one says who speaks.
    fn text(&mut self, text: &str) -> String {
        let mut piece = String::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            piece = self.completion.delta(json!({"role": "assistant", "content": ""}), None);
        }
        if !text.is_empty() {
            piece.push_str(&self.completion.delta(json!({"content": text}), None));
        }
        piece
    }
}

impl Writer for Chunks {
    fn token(&mut self, token: Token) -> String {
        self.sent.push(&token.text);
        self.text(&token.text)
    }

    fn end(&mut self, summary: &Summary) -> String {
        let rest = self.sent.rest(summary).to_owned();
        let mut piece = self.text(&rest);
        piece.push_str(&self.completion.delta(json!({}), Some(finish_reason(summary))));
        if self.completion.include_usage {
            piece.push_str(&self.completion.chunk(json!([]), Some(usage(summary))));
        }
        piece + "data: [DONE]\n\n"
    }

    fn failure(&self, error: &ApiError) -> io::Result<String> {
        Ok(format!("data: {}\n\n", error_body(error)))
    }
}

#[cfg(test)]
mod tests {
    use epitome_runtime::Sequence;

    use super::*;

    fn summary() -> Summary {
        let sequence = Sequence {
            text: "a b c".into(),
            token_ids: vec![0, 7, 8, 1],
            score: None,
            token_scores: None,
        };
        Summary {
            sequences: vec![sequence],
            input_tokens: 5,
            truncated: false,
            steps: 3,
            stopped: StopReason::Finished,
            timing: Default::default(),
            read: None,
        }
    }

    fn completion(include_usage: bool) -> Completion {
        let request = ChatRequest { model: None, include_usage };
        Completion::new("mine".into(), &request)
    }

    #[test]
    fn a_whole_answer() {
        let answer = completion(false).whole(&summary(), vec!["a b c".into()]);
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(answer["model"], "mine");
        assert_eq!(answer["choices"][0]["message"]["content"], "a b c");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(
            answer["usage"],
            json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8})
        );
    }

    #[test]
    fn chunks_join_to_the_summary() {
        let mut writer = Chunks::new(completion(true));
        let token = |id, text: &str| Token { id, text: text.into(), special: id == 1 };
        let mut all = writer.token(token(7, "a"));
        all += &writer.token(token(8, " b"));
        all += &writer.token(token(1, ""));
        all += &writer.end(&summary());
        let chunks: Vec<&str> = all.split_terminator("\n\n").collect();
        let (done, chunks) = chunks.split_last().unwrap();
        assert_eq!(*done, "data: [DONE]");
        let read = |chunk: &&str| -> Value {
            serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap()
        };
        let chunks: Vec<Value> = chunks.iter().map(read).collect();
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let content = |chunk: &Value| {
            chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(chunks.iter().map(content).collect::<String>(), "a b c");
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(8)));
        assert_eq!(before.last().unwrap()["choices"][0]["finish_reason"], "stop");
        assert!(before.iter().all(|chunk| chunk["usage"].is_null()));
    }

    #[test]
    fn errors_are_objects() {
        let body = error_body(&ApiError::BadRequest("no".into()));
        assert_eq!(body["error"]["message"], "no");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        let writer = Chunks::new(completion(false));
        let failure = writer.failure(&ApiError::WorkerFailed).unwrap();
        assert!(failure.contains("\"server_error\""), "{failure}");
    }
}
