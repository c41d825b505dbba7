//! Bodies of requests.

use epitome_runtime::GenerationParameters;
use serde_json::{Map, Value};

use super::media::Format;
use crate::error::ApiError;

/// The column of a CSV body that holds the texts, and the field of a JSON one.
const INPUTS: &str = "inputs";

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Invocation {
    /// One item, or one for each line.
    pub(crate) items: Vec<Item>,
    /// How the items came.
    pub(crate) layout: Layout,
    /// Whether the answer shall come token by token.
    pub(crate) stream: bool,
}

/// How the items of a request came, and how they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One item, answered by itself.
    Single,
    /// JSON lines: each is answered by a line.
    Lines,
}

/// Texts to be summarized in one way.
#[derive(Debug, PartialEq)]
pub(crate) struct Item {
    /// The texts.
    pub(crate) texts: Vec<String>,
    /// Whether they came as a list: a list of one is answered as a list.
    pub(crate) is_list: bool,
    /// How to generate.
    pub(crate) parameters: GenerationParameters,
}

/// Reads a body.
pub(crate) fn parse(format: Format, body: &[u8]) -> Result<Invocation, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        bad(format!(
            "the body is not UTF-8: byte {at} starts no character"
        ))
    })?;
    // A byte order mark is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let invocation = match format {
        Format::Json => json(text)?,
        Format::JsonLines => json_lines(text)?,
        Format::Csv => csv(text)?,
        Format::Text | Format::EventStream => single(vec![text.to_owned()], false),
    };
    check_texts(&invocation)?;
    Ok(invocation)
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}

fn single(texts: Vec<String>, is_list: bool) -> Invocation {
    let item = Item {
        texts,
        is_list,
        parameters: GenerationParameters::default(),
    };
    Invocation {
        items: vec![item],
        layout: Layout::Single,
        stream: false,
    }
}

fn json(text: &str) -> Result<Invocation, ApiError> {
    let value = serde_json::from_str(text)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let (item, stream) = item(value)?;
    Ok(Invocation {
        items: vec![item],
        layout: Layout::Single,
        stream,
    })
}

fn json_lines(text: &str) -> Result<Invocation, ApiError> {
    let lines = text.lines().enumerate();
    let items = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let line_number = index + 1;
            let value = serde_json::from_str(line)
                .map_err(|error| bad(format!("line {line_number} is not JSON: {error}")))?;
            let (item, stream) =
                item(value).map_err(|error| bad(format!("line {line_number}: {error}")))?;
            if stream {
                return Err(bad(format!(
                    "line {line_number}: JSON lines cannot be streamed"
                )));
            }
            Ok(item)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() {
        return Err(bad("the body holds no line"));
    }
    Ok(Invocation {
        items,
        layout: Layout::Lines,
        stream: false,
    })
}

/// `{"inputs": ..., "parameters": {...}, "stream": ...}`, or just a text. As in the stock container, other fields
/// mean nothing.
fn item(value: Value) -> Result<(Item, bool), ApiError> {
    let mut fields = match value {
        Value::Object(fields) => fields,
        Value::String(text) => Map::from_iter([(INPUTS.to_owned(), Value::String(text))]),
        other => {
            let kind = kind(&other);
            return Err(bad(format!(
                "expected an object with `{INPUTS}`, found {kind}"
            )));
        }
    };
    let (texts, is_list) = match fields.remove(INPUTS) {
        Some(Value::String(text)) => (vec![text], false),
        Some(Value::Array(items)) => (
            items.into_iter().map(list_text).collect::<Result<_, _>>()?,
            true,
        ),
        None => {
            return Err(bad(format!(
                "the request has no `{INPUTS}`: give a text or a list of texts"
            )));
        }
        Some(other) => {
            let kind = kind(&other);
            return Err(bad(format!(
                "`{INPUTS}` must be a text or a list of texts, not {kind}"
            )));
        }
    };
    let parameters = match fields.get("parameters") {
        None | Some(Value::Null) => GenerationParameters::default(),
        Some(Value::Object(parameters)) => {
            GenerationParameters::from_json(parameters).map_err(|error| bad(error.to_string()))?
        }
        Some(other) => {
            let kind = kind(other);
            return Err(bad(format!("`parameters` must be an object, not {kind}")));
        }
    };
    let stream = match fields.get("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(stream)) => *stream,
        Some(other) => {
            let kind = kind(other);
            return Err(bad(format!("`stream` must be true or false, not {kind}")));
        }
    };
    let item = Item {
        texts,
        is_list,
        parameters,
    };
    Ok((item, stream))
}

fn list_text(value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        other => {
            let kind = kind(&other);
            Err(bad(format!(
                "the list `{INPUTS}` must hold texts only, not {kind}"
            )))
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn csv(text: &str) -> Result<Invocation, ApiError> {
    let wrong = |error: csv::Error| bad(format!("the body is not CSV: {error}"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(wrong)?;
    let column = headers.iter().position(|header| header.trim() == INPUTS);
    let column = column.ok_or_else(|| {
        bad(format!(
            "the CSV body needs a header row with the column `{INPUTS}`"
        ))
    })?;
    let texts = reader
        .records()
        .map(|record| {
            Ok(record
                .map_err(wrong)?
                .get(column)
                .unwrap_or_default()
                .to_owned())
        })
        .collect::<Result<_, ApiError>>()?;
    Ok(single(texts, true))
}

fn check_texts(invocation: &Invocation) -> Result<(), ApiError> {
    let blank = |item: &Item| item.texts.iter().position(|text| text.trim().is_empty());
    for (line, item) in invocation.items.iter().enumerate() {
        match (blank(item), invocation.layout) {
            (None, _) => {}
            (Some(_), Layout::Lines) => {
                return Err(bad(format!("item {} holds an empty text", line + 1)));
            }
            (Some(index), Layout::Single) if item.is_list => {
                return Err(bad(format!("text {} is empty", index + 1)));
            }
            (Some(_), Layout::Single) => return Err(bad("the text is empty")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(format: Format, body: &[u8]) -> String {
        let error = parse(format, body).expect_err("an error");
        assert_eq!(error.status(), 400, "{error}");
        error.to_string()
    }

    #[test]
    fn every_format_is_read() {
        let read = |format, body: &str| parse(format, body.as_bytes()).unwrap();
        let one = read(
            Format::Json,
            r#"{"inputs":"a","parameters":{"num_beams":2},"stream":true}"#,
        );
        assert_eq!(one.items[0].texts, ["a"]);
        assert_eq!(one.items[0].parameters.num_beams, Some(2));
        assert!(one.stream && !one.items[0].is_list);
        let list = read(
            Format::Json,
            "\u{feff}{\"inputs\":[\"a\",\"b\"],\"extra\":1}",
        );
        assert!(list.items[0].is_list);
        assert_eq!(list.items[0].texts, ["a", "b"]);
        let lines = read(
            Format::JsonLines,
            "{\"inputs\":\"a\"}\n\n\"b\"\r\n{\"inputs\":[\"c\"]}\n",
        );
        assert_eq!(lines.layout, Layout::Lines);
        assert_eq!(lines.items.len(), 3);
        let csv = read(Format::Csv, "id,inputs\n1,\"a, \"\"b\"\"\"\n2,c\n");
        assert_eq!(csv.items[0].texts, ["a, \"b\"", "c"]);
        assert_eq!(read(Format::Text, "a\nb").items[0].texts, ["a\nb"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (format, body, part) in [
            (Format::Json, &b"{"[..], "not JSON"),
            (Format::Json, b"\xff", "byte 0"),
            (Format::Json, b"{}", "no `inputs`"),
            (Format::Json, b"[1]", "a list"),
            (Format::Json, br#"{"inputs":3}"#, "a number"),
            (Format::Json, br#"{"inputs":["a",null]}"#, "null"),
            (Format::Json, br#"{"inputs":" "}"#, "empty"),
            (Format::Json, br#"{"inputs":["a",""]}"#, "text 2 is empty"),
            (
                Format::Json,
                br#"{"inputs":"a","parameters":[]}"#,
                "`parameters`",
            ),
            (
                Format::Json,
                br#"{"inputs":"a","parameters":{"num_beam":1}}"#,
                "`num_beam`",
            ),
            (Format::Json, br#"{"inputs":"a","stream":1}"#, "`stream`"),
            (Format::JsonLines, b"\n", "no line"),
            (Format::JsonLines, b"{\"inputs\":\"a\"}\n{", "line 2"),
            (Format::Csv, b"text\nabc\n", "`inputs`"),
            (Format::Csv, b"inputs,b\nabc\n", "not CSV"),
            (Format::Text, b"  ", "empty"),
        ] {
            let message = message(format, body);
            assert!(message.contains(part), "{message}");
        }
    }
}
