//! `POST /documents`: the text of a file that the page sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;

use crate::app::App;
use crate::body;
use crate::error::ApiError;
use crate::models::BoxError;
use crate::off_sockets::{self, Stop};

/// The file's name, percent-encoded.
const FILE_NAME: HeaderName = HeaderName::from_static("x-epitome-file-name");
/// Bytes of a file's text: more than a page can show.
const MAX_TEXT: usize = 8 << 20;

/// Reads files of any format.
///
/// The binary hands one in, so that this crate knows no format.
pub trait ReadDocument: Send + Sync {
    /// The texts in a file. Blocks, no longer than the time given. A file is hostile: its reader must
    /// harm nothing else in this process.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    fn read(
        &self,
        file: &[u8],
        name: Option<&str>,
        time: Duration,
    ) -> Result<Vec<DocumentText>, BoxError>;
}

/// The text of a document. A file of rows holds several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DocumentText {
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Its parts, in order.
    pub sections: Vec<SectionText>,
}

/// A part of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SectionText {
    /// Its heading, where it has one.
    pub heading: Option<String>,
    /// The page it begins on, from 1, where there are pages.
    pub page: Option<u32>,
    /// Its text.
    pub text: String,
}

/// Answers with the documents in the body.
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let reader = app.documents.clone().ok_or_else(|| ApiError::NoSuchPath("/documents".into()))?;
    let deadline = app.context.deadline();
    let limit = app.context.settings.contract.max_body;
    let mut charge = app.context.in_flight.open();
    let (parts, body) = request.into_parts();
    let name = parts.headers.get(FILE_NAME).and_then(|name| decode(name.as_bytes()));
    let file = body::read(body, limit, deadline, &mut charge).await?;
    let read = move |stop: &Stop| {
        let time = deadline.saturating_duration_since(Instant::now());
        let documents = reader.read(&file, name.as_deref(), time);
        drop((file, charge));
        stop.check()?;
        let documents =
            documents.map_err(|error| ApiError::UnreadableDocument(error.to_string()))?;
        answer(&documents)
    };
    // Formats are unpacked: the work grows with more than the file.
    let answer = off_sockets::run(usize::MAX, deadline, read).await?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

fn answer(documents: &[DocumentText]) -> Result<String, ApiError> {
    let sections = documents.iter().flat_map(|document| &document.sections);
    let bytes: usize = sections.map(|section| section.text.len()).sum();
    if bytes > MAX_TEXT {
        return Err(ApiError::UnreadableDocument(format!(
            "the file holds {} MB of text, and the page shows {}: `epitome summarize` reads it",
            bytes >> 20,
            MAX_TEXT >> 20
        )));
    }
    if documents.is_empty() || bytes == 0 {
        return Err(ApiError::UnreadableDocument("the file holds no text".into()));
    }
    serde_json::to_string(&serde_json::json!({"documents": documents}))
        .map_err(|error| ApiError::UnreadableDocument(error.to_string()))
}

/// Undoes percent-encoding; `None` where the result is not UTF-8.
fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded.filter(|_| *byte == b'%') {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        for (encoded, name) in [
            ("a%20b.pdf", Some("a b.pdf")),
            ("%C3%BC", Some("ü")),
            ("50%", Some("50%")),
            ("%zz%4", Some("%zz%4")),
            ("%ff", None),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_deref(), name, "{encoded}");
        }
    }

    #[test]
    fn a_file_without_text_and_one_with_too_much_are_refused() {
        let of = |text: String| {
            let sections = vec![SectionText { text, ..Default::default() }];
            answer(&[DocumentText { title: None, sections }])
        };
        assert!(of("a".into()).unwrap().contains(r#""text":"a""#));
        assert!(matches!(of(String::new()), Err(ApiError::UnreadableDocument(_))));
        assert!(matches!(answer(&[]), Err(ApiError::UnreadableDocument(_))));
        let error = of("a".repeat(MAX_TEXT + 1)).unwrap_err().to_string();
        assert!(error.contains("epitome summarize"), "{error}");
    }
}
