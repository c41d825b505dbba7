//! JSON in the form of Python's `json.dumps`. The estimator encodes hyperparameters with it, and
//! training scripts see the text.

use std::fmt::Write;

use serde_json::Value;

/// The JSON text of a value.
pub(super) fn dumps(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, float),
        Value::Number(number) => number.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(dumps).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{}: {}", string(name), dumps(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Shortest digits that give the same number, in positional notation from 1e-4 up to 1e16.
fn float(value: f64) -> String {
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// A string in ASCII, with UTF-16 escapes for other characters.
fn string(text: &str) -> String {
    let mut out = String::new();
    for character in Value::from(text).to_string().chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("strings can be written to");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::dumps;

    #[test]
    fn values_are_written_as_python_writes_them() {
        for (value, text) in [
            (json!(5e-5), "5e-05"),
            (json!(1.5e-7), "1.5e-07"),
            (json!(1e-4), "0.0001"),
            (json!(0.1), "0.1"),
            (json!(1.0), "1.0"),
            (json!(-0.0), "-0.0"),
            (json!(1e15), "1000000000000000.0"),
            (json!(1e16), "1e+16"),
            (json!(1.25e100), "1.25e+100"),
            (json!(3), "3"),
            (json!(true), "true"),
            (json!(null), "null"),
            (json!("a \"b\" é 😀"), r#""a \"b\" \u00e9 \ud83d\ude00""#),
            (json!(["a", {"b": 1}]), r#"["a", {"b": 1}]"#),
        ] {
            assert_eq!(dumps(&value), text);
        }
    }
}
