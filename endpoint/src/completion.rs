//! Completions in the form of OpenAI's API, whole and in chunks.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use epitome_runtime::Summary;
use epitome_runtime::generation::StopReason;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::{ChatRequest, Style};
use crate::error::ApiError;
use crate::scheduler::Token;
use crate::stream::{Sent, Writer};

/// The body of an error in the form of OpenAI's API.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let kind = match error.status().as_u16() {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": error.to_string(), "type": kind, "param": null, "code": null}})
}

/// Fields that all chunks of one answer share.
pub(crate) struct Completion {
    id: String,
    created: u64,
    model: String,
    style: Style,
    include_usage: bool,
}

impl Completion {
    /// Creates the fields of an answer of the model with this name.
    pub(crate) fn new(model: String, style: Style, request: &ChatRequest) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let kind = match style {
            Style::Chat => "chatcmpl",
            Style::Text => "cmpl",
        };
        Self {
            id: format!("{kind}-{}", Uuid::new_v4().simple()),
            style,
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

    /// The whole answer. `texts` has the text of each sequence.
    pub(crate) fn whole(&self, summary: &Summary, texts: Vec<String>) -> Value {
        let choice = |(index, content): (usize, String)| {
            let mut choice = json!({
                "index": index, "logprobs": null, "finish_reason": finish_reason(summary),
            });
            match self.style {
                Style::Text => choice["text"] = content.into(),
                Style::Chat => {
                    choice["message"] =
                        json!({"role": "assistant", "content": content, "refusal": null});
                }
            }
            choice
        };
        let choices: Vec<Value> = texts.into_iter().enumerate().map(choice).collect();
        let object = match self.style {
            Style::Chat => "chat.completion",
            Style::Text => "text_completion",
        };
        let mut answer = self.object(object, choices.into());
        answer["usage"] = usage(summary);
        answer
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        let object = match self.style {
            Style::Chat => "chat.completion.chunk",
            Style::Text => "text_completion",
        };
        let mut chunk = self.object(object, choices);
        if self.include_usage {
            chunk["usage"] = usage.into();
        }
        format!("data: {chunk}\n\n")
    }

    fn delta(&self, delta: Value, finish_reason: Option<&str>) -> String {
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": finish_reason});
        match self.style {
            Style::Chat => choice["delta"] = delta,
            Style::Text => choice["text"] = delta["content"].as_str().unwrap_or_default().into(),
        }
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

    /// A chunk with text. The first chunk also names the role.
    fn text(&mut self, text: &str) -> String {
        let mut piece = String::new();
        let is_chat = self.completion.style == Style::Chat;
        if !std::mem::replace(&mut self.has_begun, true) && is_chat {
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
        Completion::new("mine".into(), Style::Chat, &request)
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
    fn a_prompt_is_answered_in_text() {
        let request = ChatRequest::default();
        let completion = Completion::new("mine".into(), Style::Text, &request);
        let answer = completion.whole(&summary(), vec!["a b c".into()]);
        assert_eq!(
            (&answer["object"], &answer["choices"][0]["text"]),
            (&json!("text_completion"), &json!("a b c"),)
        );
        let piece =
            Chunks::new(completion).token(Token { id: 7, text: "a".into(), special: false });
        assert!(piece.contains("\"text\":\"a\"") && !piece.contains("delta"), "{piece}");
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
