//! Answers that are streamed token by token.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use epitome_runtime::Summary;
use epitome_runtime::generation::StopReason;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;

use crate::error::ApiError;
use crate::media::{Format, MediaType};
use crate::scheduler::{Event, Token};

/// Formats events as pieces of an answer.
pub(crate) trait Writer: Send {
    /// Formats a token.
    fn token(&mut self, token: Token) -> String;

    /// Formats the end of the answer after the summary is finished.
    fn end(&mut self, summary: &Summary) -> String;

    /// Formats an error, which ends the answer.
    ///
    /// # Errors
    /// If the format has no place for an error. The connection then breaks off, so that nobody
    /// takes a part for the whole.
    fn failure(&self, error: &ApiError) -> io::Result<String>;
}

/// An answer that is sent as events arrive. Beam search produces no tokens before its end.
pub(crate) fn respond(
    first: Event,
    events: UnboundedReceiver<Event>,
    content_type: &'static str,
    writer: Box<dyn Writer>,
) -> Response {
    let pieces = Pieces { first: Some(first), events, writer, ended: false };
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The content type and the writer of a streamed invocation.
///
/// A stream has no closing bracket and no header row: JSON becomes JSON lines, and CSV becomes
/// text.
pub(crate) fn of_invocation(accept: MediaType) -> (&'static str, Box<dyn Writer>) {
    let accept = match accept.format {
        Format::Json | Format::Npy => Format::JsonLines.into(),
        Format::Csv => Format::Text.into(),
        _ => accept,
    };
    match accept.format {
        Format::Text => (accept.name, Box::<Text>::default()),
        format => {
            (accept.name, Box::new(Tokens { format, sent: Sent::default(), held: None, count: 0 }))
        }
    }
}

/// The body. Dropping it cancels the request. That happens when the client hangs up.
struct Pieces {
    first: Option<Event>,
    events: UnboundedReceiver<Event>,
    writer: Box<dyn Writer>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let event = match self.first.take() {
                Some(event) => Some(event),
                None => std::task::ready!(self.events.poll_recv(context)),
            };
            let piece = match event.unwrap_or(Event::Failed(ApiError::WorkerFailed)) {
                Event::Token(token) => self.writer.token(token),
                Event::Finished { summary, .. } => {
                    self.ended = true;
                    self.writer.end(&summary)
                }
                Event::DocumentFailed { error, .. } | Event::Failed(error) => {
                    self.ended = true;
                    self.writer.failure(&error)?
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece.into())));
            }
        }
        Poll::Ready(None)
    }
}

/// The text that was sent.
#[derive(Default)]
pub(crate) struct Sent(String);

impl Sent {
    pub(crate) fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// The rest of the summary: all of it if nothing was streamed.
    pub(crate) fn rest<'a>(&self, summary: &'a Summary) -> &'a str {
        summary.text().strip_prefix(self.0.as_str()).unwrap_or_default()
    }
}

/// Plain text. The last line ends with a line break too.
#[derive(Default)]
struct Text(Sent);

impl Writer for Text {
    fn token(&mut self, token: Token) -> String {
        self.0.push(&token.text);
        token.text
    }

    fn end(&mut self, summary: &Summary) -> String {
        format!("{}\n", self.0.rest(summary))
    }

    fn failure(&self, error: &ApiError) -> io::Result<String> {
        Err(io::Error::other(error.to_string()))
    }
}

/// Server-sent events or JSON lines, one per token, like Hugging Face's text-generation-inference.
struct Tokens {
    format: Format,
    sent: Sent,
    /// The newest token. The last token is sent with the summary.
    held: Option<Token>,
    /// Number of sent events.
    count: usize,
}

impl Tokens {
    fn event(&mut self, token: &Token, generated_text: Value, details: Value) -> String {
        self.count += 1;
        // Scores of single tokens are not computed during a search.
        let token = json!({
            "id": token.id, "text": token.text, "logprob": null, "special": token.special,
        });
        self.frame(&json!({
            "index": self.count,
            "token": token,
            "generated_text": generated_text,
            "details": details,
        }))
    }

    fn frame(&self, value: &Value) -> String {
        match self.format {
            Format::EventStream => format!("data: {value}\n\n"),
            _ => format!("{value}\n"),
        }
    }
}

impl Writer for Tokens {
    fn token(&mut self, token: Token) -> String {
        self.sent.push(&token.text);
        match self.held.replace(token) {
            Some(before) => self.event(&before, Value::Null, Value::Null),
            None => String::new(),
        }
    }

    fn end(&mut self, summary: &Summary) -> String {
        let ids = summary.sequences.first().map_or(&[][..], |sequence| &sequence.token_ids);
        let mut last = self.held.take().unwrap_or_else(|| Token {
            id: ids.last().copied().unwrap_or_default(),
            text: String::new(),
            special: true,
        });
        let ended_by_token = last.special;
        last.text.push_str(self.sent.rest(summary));
        // Clients skip the texts of special tokens.
        last.special &= last.text.is_empty();
        let finish_reason = match summary.stopped {
            StopReason::Finished if ended_by_token => "eos_token",
            StopReason::Finished => "stop_sequence",
            _ => "length",
        };
        let mut details = json!({
            "finish_reason": finish_reason,
            "generated_tokens": ids.len().saturating_sub(1),
            "input_length": summary.input_tokens,
            "seed": null,
            "truncated": summary.truncated,
        });
        // Set only if the request says how to read long texts.
        if let Some(read) = &summary.read {
            details["read"] =
                json!({"words": read.words, "words_read": read.words_read, "parts": read.parts});
        }
        self.event(&last, summary.text().into(), details)
    }

    fn failure(&self, error: &ApiError) -> io::Result<String> {
        Ok(self.frame(&error.body()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use epitome_runtime::Sequence;

    use super::*;

    fn token(id: u32, text: &str) -> Token {
        Token { id, text: text.into(), special: id == 1 }
    }

    pub(crate) fn summary(text: &str, token_ids: &[u32], stopped: StopReason) -> Summary {
        let sequence = Sequence {
            text: text.into(),
            token_ids: token_ids.into(),
            score: None,
            token_scores: None,
        };
        Summary {
            sequences: vec![sequence],
            input_tokens: 3,
            truncated: false,
            steps: 2,
            stopped,
            timing: Default::default(),
            read: None,
        }
    }

    fn read(event: &str) -> Value {
        let data = event.strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n"));
        serde_json::from_str(data.unwrap_or_else(|| panic!("{event:?}"))).unwrap()
    }

    #[test]
    fn every_event_has_a_token_and_the_last_one_the_summary() {
        let (content_type, mut writer) = of_invocation(Format::EventStream.into());
        assert_eq!(content_type, "text/event-stream");
        assert_eq!(writer.token(token(7, "a")), "");
        let first = read(&writer.token(token(8, " b")));
        let empty = json!({"id": 7, "text": "a", "logprob": null, "special": false});
        assert_eq!(
            first,
            json!({"index": 1, "token": empty, "generated_text": null, "details": null})
        );
        let second = read(&writer.token(token(1, "")));
        assert_eq!(second["token"]["text"], " b");
        let last = read(&writer.end(&summary("a b.", &[0, 7, 8, 1], StopReason::Finished)));
        assert_eq!((&last["index"], &last["token"]["id"]), (&json!(3), &json!(1)));
        assert_eq!(last["token"]["text"], ".", "what was held back");
        assert_eq!(
            last["token"]["special"], false,
            "clients pass over the texts of special tokens"
        );
        assert_eq!(last["generated_text"], "a b.");
        assert_eq!(last["details"]["finish_reason"], "eos_token");
        assert_eq!(last["details"]["generated_tokens"], 3);
    }

    #[test]
    fn the_last_event_of_a_cut_or_unreported_summary() {
        let (_, mut writer) = of_invocation(Format::EventStream.into());
        writer.token(token(7, "a"));
        let last = read(&writer.end(&summary("a", &[0, 7], StopReason::MaxLength)));
        assert_eq!((&last["index"], &last["token"]["text"]), (&json!(1), &json!("a")));
        assert_eq!(last["details"]["finish_reason"], "length");
        let (_, mut writer) = of_invocation(Format::EventStream.into());
        let only = read(&writer.end(&summary("a b", &[0, 7, 1], StopReason::Finished)));
        assert_eq!(
            (&only["token"]["text"], &only["token"]["special"]),
            (&json!("a b"), &json!(false))
        );
        assert_eq!(only["details"]["finish_reason"], "eos_token");
        let (_, mut writer) = of_invocation(Format::EventStream.into());
        writer.token(token(7, "a"));
        writer.token(token(1, ""));
        let end = read(&writer.end(&summary("a", &[0, 7, 1], StopReason::Finished)));
        assert_eq!((&end["token"]["text"], &end["token"]["special"]), (&json!(""), &json!(true)));
    }

    #[test]
    fn errors_have_the_fields_of_tgi() {
        let (_, writer) = of_invocation(Format::EventStream.into());
        let error = read(&writer.failure(&ApiError::WorkerFailed).unwrap());
        assert_eq!((&error["error_type"], &error["code"]), (&json!("generation"), &json!(500)));
        assert_eq!(error["error"], error["message"]);
    }

    #[test]
    fn text_ends_with_a_line_or_breaks_off() {
        let (content_type, mut writer) = of_invocation(Format::Csv.into());
        assert_eq!(content_type, "text/plain; charset=utf-8");
        assert_eq!(writer.token(token(7, "a b")), "a b");
        assert!(writer.failure(&ApiError::WorkerFailed).is_err());
        assert_eq!(writer.end(&summary("a b c", &[0, 7, 8], StopReason::Finished)), " c\n");
    }
}
