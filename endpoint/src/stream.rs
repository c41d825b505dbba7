//! Answers that come token by token.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use epitome_runtime::Summary;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;

use crate::error::ApiError;
use crate::media::Format;
use crate::scheduler::{Event, Token};
use crate::settings::ContractSettings;

/// An answer that grows as events come. Beam search reports no tokens: the finished summary comes at
/// once.
pub(crate) fn respond(
    first: Event,
    events: UnboundedReceiver<Event>,
    accept: Format,
    settings: &ContractSettings,
) -> Response {
    // A stream has no closing bracket or header row: JSON becomes lines of it, and CSV text.
    let format = match accept {
        Format::Json => Format::JsonLines,
        Format::Csv => Format::Text,
        other => other,
    };
    let body = Body::from_stream(Pieces {
        first: Some(first),
        events,
        encoder: Encoder { format, field: settings.task.field(), sent: String::new(), tokens: 0 },
        ended: false,
    });
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The body. Dropping it, as happens when the client hangs up, cancels the request.
struct Pieces {
    first: Option<Event>,
    events: UnboundedReceiver<Event>,
    encoder: Encoder,
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
            let event = event.unwrap_or(Event::Failed(ApiError::WorkerFailed));
            self.ended = !matches!(event, Event::Token(_));
            let piece = self.encoder.encode(event)?;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece.into())));
            }
        }
        Poll::Ready(None)
    }
}

/// Writes events in the format of the answer.
struct Encoder {
    format: Format,
    field: &'static str,
    /// The text that was sent.
    sent: String,
    tokens: usize,
}

impl Encoder {
    fn encode(&mut self, event: Event) -> io::Result<String> {
        match event {
            Event::Token(token) => Ok(self.token(&token)),
            Event::Finished { summary, .. } => Ok(self.end(&summary)),
            Event::Failed(error) => self.failure(&error),
        }
    }

    fn token(&mut self, token: &Token) -> String {
        self.sent.push_str(&token.text);
        self.tokens += 1;
        if self.format == Format::Text {
            return token.text.clone();
        }
        self.frame(&json!({
            "index": self.tokens,
            "token": {"id": token.id, "text": token.text},
            self.field: Value::Null,
        }))
    }

    fn end(&self, summary: &Summary) -> String {
        if self.format == Format::Text {
            // What was held back, or all of it where nothing was streamed.
            let rest = summary.text().strip_prefix(self.sent.as_str());
            return rest.unwrap_or_default().to_owned();
        }
        let generated = summary
            .sequences
            .first()
            .map_or(0, |sequence| sequence.token_ids.len().saturating_sub(1));
        let mut details = json!({"generated_tokens": generated, "truncated": summary.truncated});
        // Only where the request says how to read long texts.
        if let Some(read) = &summary.read {
            details["read"] =
                json!({"words": read.words, "words_read": read.words_read, "parts": read.parts});
        }
        self.frame(&json!({self.field: summary.text(), "details": details}))
    }

    /// Text has no place for an error: the connection breaks off, so that nobody takes a part for the
    /// whole.
    fn failure(&self, error: &ApiError) -> io::Result<String> {
        match self.format {
            Format::Text => Err(io::Error::other(error.to_string())),
            Format::EventStream => Ok(format!("event: error\ndata: {}\n\n", error.body())),
            _ => Ok(format!("{}\n", error.body())),
        }
    }

    fn frame(&self, value: &Value) -> String {
        match self.format {
            Format::EventStream => format!("data: {value}\n\n"),
            _ => format!("{value}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(format: Format) -> Encoder {
        Encoder { format, field: "generated_text", sent: String::new(), tokens: 0 }
    }

    fn token(id: u32, text: &str) -> Event {
        let text = text.into();
        Event::Token(Token { id, text })
    }

    #[test]
    fn tokens_become_events() {
        let mut encoder = encoder(Format::EventStream);
        let piece = encoder.encode(token(7, "a")).unwrap();
        assert_eq!(
            piece,
            "data: {\"index\":1,\"token\":{\"id\":7,\"text\":\"a\"},\"generated_text\":null}\n\n"
        );
        let error = encoder.encode(Event::Failed(ApiError::WorkerFailed)).unwrap();
        assert!(error.starts_with("event: error\ndata: {\"code\":500"), "{error}");
    }

    #[test]
    fn text_that_fails_breaks_off() {
        let mut encoder = encoder(Format::Text);
        assert_eq!(encoder.encode(token(7, "a b")).unwrap(), "a b");
        assert!(encoder.encode(Event::Failed(ApiError::WorkerFailed)).is_err());
    }
}
