//! Content types, and which one to answer with.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use crate::error::ApiError;

/// A format of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/jsonlines`: one JSON value a line.
    JsonLines,
    /// `text/csv`
    Csv,
    /// `text/plain`
    Text,
    /// `text/event-stream`: server-sent events, answers only.
    EventStream,
}

impl Format {
    /// The format that a media type without parameters names.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type.trim().to_ascii_lowercase().as_str() {
            "application/json" | "text/json" => Some(Self::Json),
            "application/jsonlines"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/ndjson"
            | "application/x-ndjson" => Some(Self::JsonLines),
            "text/csv" | "application/csv" => Some(Self::Csv),
            "text/plain" => Some(Self::Text),
            "text/event-stream" => Some(Self::EventStream),
            _ => None,
        }
    }

    /// The content type of an answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonlines",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
            Self::EventStream => "text/event-stream",
        }
    }
}

/// What AWS SDKs send where their user does not say what the body is.
const UNKNOWN: &str = "application/octet-stream";

/// The format that a request is in; JSON where it does not say.
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

/// The format to answer in: of those that the client accepts, the one it likes best.
///
/// `preferred` is what it gets where it takes anything.
pub(crate) fn accepted(headers: &HeaderMap, preferred: Format) -> Result<Format, ApiError> {
    let values: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let all = values.join(",");
    let mut best: Option<(f32, Format)> = None;
    let mut ranges = all.split(',').map(str::trim).filter(|range| !range.is_empty());
    for range in ranges.by_ref() {
        let (media_type, parameters) = range.split_once(';').unwrap_or((range, ""));
        let quality = quality(parameters);
        let better = quality > 0.0 && best.is_none_or(|(other, _)| quality > other);
        if let (true, Some(format)) = (better, in_range(media_type.trim(), preferred)) {
            best = Some((quality, format));
        }
    }
    match best {
        Some((_, format)) => Ok(format),
        None if all.trim().is_empty() => Ok(preferred),
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

fn in_range(range: &str, preferred: Format) -> Option<Format> {
    let fits = |format: Format| {
        let major = format.content_type().split('/').next();
        major == range.split('/').next()
    };
    match range {
        "*/*" | "*" => Some(preferred),
        "application/*" | "text/*" if fits(preferred) => Some(preferred),
        "application/*" => Some(Format::Json),
        "text/*" => Some(Format::Text),
        _ => Format::of(range),
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
            assert_eq!(found.unwrap(), format, "{value}");
        }
        let error = accepted(&headers(ACCEPT, "image/png"), Format::Json).unwrap_err();
        assert_eq!(error.status(), 406);
    }
}
