//! `POST /documents`: the text of a file that the page sends.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epitome_documents::Options;
use epitome_documents::isolated::Extractor;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderName};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::blocking_pool::{self, Stop};
use crate::body;
use crate::error::ApiError;

/// Header with the percent-encoded name of the file.
const FILE_NAME: HeaderName = HeaderName::from_static("x-epitome-file-name");
/// Longest text of a file in bytes. The page can show less.
const MAX_TEXT: usize = 8 << 20;

/// Permit for reading a file.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// Limits the text of a file to [`MAX_TEXT`].
pub(crate) fn bounded(extractor: Extractor) -> Extractor {
    let mut options = Options::default();
    options.max_text = MAX_TEXT;
    extractor.with_options(options)
}

/// Answers with the documents in the body.
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let extractor =
        app.documents.clone().ok_or_else(|| ApiError::NoSuchPath("/documents".into()))?;
    let deadline = app.context.deadline();
    let limit = app.context.settings.contract.max_body;
    let mut charge = app.context.in_flight.open();
    let (parts, body) = request.into_parts();
    let name = parts.headers.get(FILE_NAME).and_then(|name| decode(name.as_bytes()));
    let file = body::read(body, limit, deadline, &mut charge).await?;
    // Reading a file may take a minute, even after the client is gone. One at a time leaves threads
    // for other requests.
    let turn = app.context.before(deadline, ONE_AT_A_TIME.acquire()).await?;
    let read = move |stop: &Stop| {
        let _turn = turn;
        let documents = extractor.read(&file, name.as_deref());
        drop((file, charge));
        stop.check()?;
        let unreadable = |error: String| ApiError::UnreadableDocument(error);
        let documents = documents.map_err(|error| unreadable(error.to_string()))?;
        serde_json::to_string(&json!({"documents": documents}))
            .map_err(|error| unreadable(error.to_string()))
    };
    let answer = blocking_pool::run(0, deadline, read).await?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Decodes percent-encoding; `None` if the result is not UTF-8.
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
}
