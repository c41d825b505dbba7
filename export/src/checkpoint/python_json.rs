//! JSON of Python's `json` module, which has numbers that JSON does not have.

use serde_json::Value;

/// Python's names of numbers that are not finite, the longest first.
const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Parses JSON. `NaN`, `Infinity` and `-Infinity` become strings. This allows them in fields that
/// are not read, and gives an error that names the field in others.
pub(super) fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).or_else(|error| {
        let quoted = quote_numbers(text);
        serde_json::from_slice(&quoted).map_err(|_| error)
    })
}

/// Quotes these numbers outside of strings.
fn quote_numbers(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut in_text = false;
    while let Some((&byte, behind)) = rest.split_first() {
        let number = NUMBERS.iter().find(|number| rest.starts_with(number));
        if let (false, Some(number)) = (in_text, number) {
            quoted.push(b'"');
            quoted.extend_from_slice(number);
            quoted.push(b'"');
            rest = &rest[number.len()..];
            continue;
        }
        quoted.push(byte);
        rest = behind;
        match (byte, rest.split_first()) {
            (b'"', _) => in_text = !in_text,
            (b'\\', Some((&escaped, behind))) if in_text => {
                quoted.push(escaped);
                rest = behind;
            }
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn numbers_that_are_not_finite_become_texts_and_texts_stay() {
        let text = br#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN \\\" Infinity", "d": -1}"#;
        let expected = json!({"a": "NaN", "b": ["Infinity", "-Infinity"],
                              "c": "NaN \\\" Infinity", "d": -1});
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_stays_refused() {
        for text in ["{\"a\": Nan}", "{\"a\": NaN", "NaNNaN", "\"\\"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
