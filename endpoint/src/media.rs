//! Content types, and the choice of the answer's type.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use crate::error::ApiError;

/// A format of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/jsonlines`: one JSON value per line.
    JsonLines,
    /// `text/csv`
    Csv,
    /// `text/plain`
    Text,
    /// `application/x-npy`: a NumPy array.
    Npy,
    /// `text/event-stream`: server-sent events, only in answers.
    EventStream,
}

/// Media types. The first name of each format is its usual one.
const TYPES: [(&str, Format); 11] = [
    ("application/json", Format::Json),
    ("text/json", Format::Json),
    ("application/jsonlines", Format::JsonLines),
    ("application/jsonl", Format::JsonLines),
    ("application/x-jsonlines", Format::JsonLines),
    ("application/ndjson", Format::JsonLines),
    ("application/x-ndjson", Format::JsonLines),
    ("text/csv", Format::Csv),
    ("text/plain", Format::Text),
    ("application/x-npy", Format::Npy),
    ("text/event-stream", Format::EventStream),
];

impl Format {
    /// The format of a media type without parameters.
    pub fn of(media_type: &str) -> Option<Self> {
        MediaType::of(media_type).map(|media_type| media_type.format)
    }
}

/// A format, and the name that a client used for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    pub(crate) format: Format,
    /// Content type of an answer. Clients compare it with the types that they accept.
    pub(crate) name: &'static str,
}

impl MediaType {
    /// Finds a media type without parameters.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let is_it = |(known, _): &&(&str, Format)| known.eq_ignore_ascii_case(name.trim());
        TYPES.iter().find(is_it).map(|&(name, format)| Self { format, name })
    }
}

impl From<Format> for MediaType {
    fn from(format: Format) -> Self {
        let name = match format {
            // Without a charset, some clients assume another one for text.
            Format::Text => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8",
            format => TYPES
                .iter()
                .find(|(_, other)| *other == format)
                .map_or("application/octet-stream", |(name, _)| *name),
        };
        Self { format, name }
    }
}

/// Content type that AWS SDKs send by default.
const UNKNOWN: &str = "application/octet-stream";

/// The format of a request; JSON if it names none.
pub(crate) fn sent(headers: &HeaderMap) -> Result<Format, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Format::Json);
    };
    let refused =
        || ApiError::UnsupportedMediaType(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let value = value.to_str().map_err(|_| refused())?;
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    let media_type = media_type.trim();
    if media_type.is_empty() || media_type.eq_ignore_ascii_case(UNKNOWN) {
        return Ok(Format::Json);
    }
    let utf8 = parameters.split(';').all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        !name.trim().eq_ignore_ascii_case("charset")
            || matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii")
    });
    match Format::of(media_type) {
        Some(format) if format != Format::EventStream && utf8 => Ok(format),
        _ => Err(refused()),
    }
}

/// The format of the answer: among those that the client accepts, the one with the highest weight.
///
/// `preferred` is the format if the client accepts anything.
pub(crate) fn accepted(headers: &HeaderMap, preferred: Format) -> Result<MediaType, ApiError> {
    let values: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let all = values.join(",");
    let mut best: Option<(f32, MediaType)> = None;
    let mut ranges = all.split(',').map(str::trim).filter(|range| !range.is_empty());
    for range in ranges.by_ref() {
        let (media_type, parameters) = range.split_once(';').unwrap_or((range, ""));
        let quality = quality(parameters);
        let better = quality > 0.0 && best.is_none_or(|(other, _)| quality > other);
        if let (true, Some(media_type)) = (better, in_range(media_type.trim(), preferred)) {
            best = Some((quality, media_type));
        }
    }
    match best {
        Some((_, media_type)) => Ok(media_type),
        None if all.trim().is_empty() => Ok(preferred.into()),
        None => Err(ApiError::NotAcceptable(all)),
    }
}

fn quality(parameters: &str) -> f32 {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().strip_prefix("q="))
        .find_map(|quality| quality.trim().parse().ok())
        .unwrap_or(1.0)
}

fn in_range(range: &str, preferred: Format) -> Option<MediaType> {
    let preferred = MediaType::from(preferred);
    let fits = || preferred.name.split('/').next() == range.split('/').next();
    match range {
        "*/*" | "*" => Some(preferred),
        "application/*" | "text/*" if fits() => Some(preferred),
        "application/*" => Some(Format::Json.into()),
        "text/*" => Some(Format::Text.into()),
        _ => MediaType::of(range),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn content_types_are_read_with_their_parameters() {
        for (value, format) in [
            ("application/json", Format::Json),
            ("application/json; charset=utf-8", Format::Json),
            ("Application/JSON;charset=\"UTF-8\"", Format::Json),
            ("application/jsonlines", Format::JsonLines),
            ("text/csv; header=present", Format::Csv),
            ("text/plain", Format::Text),
            ("application/x-npy", Format::Npy),
            ("", Format::Json),
        ] {
            assert_eq!(sent(&headers(CONTENT_TYPE, value)).unwrap(), format, "{value}");
        }
        assert_eq!(sent(&HeaderMap::new()).unwrap(), Format::Json);
        for value in [
            "application/xml",
            "application/json; charset=utf-16",
            "text/event-stream",
            "application/x-www-form-urlencoded",
        ] {
            let error = sent(&headers(CONTENT_TYPE, value)).unwrap_err();
            assert_eq!(error.status(), 415, "{value}");
        }
    }

    #[test]
    fn the_best_accepted_format_is_taken() {
        for (value, format) in [
            ("", Format::Csv),
            ("*/*", Format::Csv),
            ("application/json", Format::Json),
            ("application/xml, text/plain", Format::Text),
            ("text/plain;q=0.5, application/json;q=0.9", Format::Json),
            ("text/*", Format::Csv),
            ("application/*", Format::Json),
            ("text/event-stream", Format::EventStream),
            ("application/json;q=0, */*;q=0.1", Format::Csv),
        ] {
            let found = accepted(&headers(ACCEPT, value), Format::Csv);
            assert_eq!(found.unwrap().format, format, "{value}");
        }
        let error = accepted(&headers(ACCEPT, "image/png"), Format::Json).unwrap_err();
        assert_eq!(error.status(), 406);
    }

    #[test]
    fn an_answer_has_the_content_type_that_was_accepted() {
        for (value, name) in [
            ("", "text/csv; charset=utf-8"),
            ("*/*", "text/csv; charset=utf-8"),
            ("text/csv", "text/csv"),
            ("Text/Plain; charset=utf-8", "text/plain"),
            ("application/x-ndjson", "application/x-ndjson"),
            ("application/x-npy", "application/x-npy"),
            ("*/*;q=0.1, text/json", "text/json"),
        ] {
            let found = accepted(&headers(ACCEPT, value), Format::Csv);
            assert_eq!(found.unwrap().name, name, "{value}");
        }
    }
}
