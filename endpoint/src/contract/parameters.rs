//! The `parameters` of a request: those of `generate`, parameters for long texts, and parameters of
//! transformers' pipelines, the hub, and text-generation-inference (TGI).

use epitome_runtime::{GenerationParameters, LongOptions};
use serde_json::{Map, Value};

use super::invocation::{Rules, Shape, bad};
use crate::error::ApiError;
use crate::scheduler::DocumentParameters;

/// Name of the object with the parameters of `generate`, in the hub's schema of summarization.
const GENERATE_PARAMETERS: &str = "generate_parameters";
/// Arguments of pipelines that do not change the result.
const HARMLESS: [&str; 2] = ["batch_size", "num_workers"];
/// Parameters of TGI that a summarizer cannot follow. Values that turn them off are accepted.
const OFF: [&str; 10] = [
    "adapter_id",
    "best_of",
    "decoder_input_details",
    "frequency_penalty",
    "grammar",
    "presence_penalty",
    "return_full_text",
    "top_n_tokens",
    "truncate",
    "watermark",
];

/// Reads `parameters`.
pub(super) fn read(
    mut given: Map<String, Value>,
    rules: &Rules<'_>,
) -> Result<(DocumentParameters, Shape), ApiError> {
    unnest(&mut given)?;
    for name in HARMLESS {
        given.shift_remove(name);
    }
    for name in OFF {
        let value = given.shift_remove(name).unwrap_or_default();
        let is_off = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => {
                number.as_f64() == Some(if name == "best_of" { 1.0 } else { 0.0 })
            }
            _ => false,
        };
        if !is_off {
            return Err(bad(format!("`{name}` is not supported: leave it out")));
        }
    }
    let shape = shape(&mut given)?;
    stops(&mut given, rules)?;
    let long = long(&mut given)?;
    let generation = GenerationParameters::from_json(&given)
        .map_err(|error| ApiError::BadParameter { line: None, error })?;
    Ok((DocumentParameters { generation, long }, shape))
}

/// Moves the hub's nested parameters up.
fn unnest(given: &mut Map<String, Value>) -> Result<(), ApiError> {
    match given.shift_remove(GENERATE_PARAMETERS) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(nested)) => {
            for (name, value) in nested {
                if given.contains_key(&name) {
                    return Err(bad(format!(
                        "a parameter is given both in and beside `{GENERATE_PARAMETERS}`"
                    )));
                }
                given.insert(name, value);
            }
            Ok(())
        }
        Some(_) => Err(bad(format!("`{GENERATE_PARAMETERS}` must be an object"))),
    }
}

/// Takes out the form of the answer.
fn shape(given: &mut Map<String, Value>) -> Result<Shape, ApiError> {
    let tensors = flag(given, "return_tensors")?;
    let returns = match given.shift_remove("return_type") {
        None | Some(Value::Null) => None,
        // Numbers of transformers' `ReturnType`.
        Some(Value::Number(number)) if number.as_u64() == Some(0) => Some(true),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Some(false),
        Some(Value::String(name)) if name == "tensors" => Some(true),
        Some(Value::String(name)) if name == "text" => Some(false),
        Some(_) => return Err(bad("`return_type` must be \"text\" or \"tensors\"")),
    };
    let token_ids = returns.or(tensors).unwrap_or(false);
    if flag(given, "return_text")? == Some(false) && !token_ids {
        return Err(bad("`return_text` is false: ask for \"return_tensors\": true instead"));
    }
    let whole = match given.shift_remove("truncation") {
        None | Some(Value::Null | Value::Bool(true)) => false,
        Some(Value::Bool(false)) => true,
        Some(Value::String(name)) => match name.as_str() {
            "do_not_truncate" => true,
            "longest_first" | "only_first" | "only_second" => false,
            _ => return Err(wrong_truncation()),
        },
        Some(_) => return Err(wrong_truncation()),
    };
    Ok(Shape {
        token_ids,
        clean_up: flag(given, "clean_up_tokenization_spaces")?.unwrap_or(false),
        whole,
        details: flag(given, "details")?.unwrap_or(false),
    })
}

fn wrong_truncation() -> ApiError {
    bad("`truncation` must be true, false, \"longest_first\", \"only_first\", \"only_second\" or \
         \"do_not_truncate\"")
}

fn flag(given: &mut Map<String, Value>, name: &str) -> Result<Option<bool>, ApiError> {
    match given.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(_) => Err(bad(format!("`{name}` must be true or false"))),
    }
}

/// Takes a value out; `None` if it is missing or `null`.
fn take(given: &mut Map<String, Value>, name: &str) -> Option<Value> {
    given.shift_remove(name).filter(|value| !value.is_null())
}

/// Translates stop sequences to `generate`: TGI's `stop`, and `stop_sequence`, whose first token is
/// the end token in pipelines.
fn stops(given: &mut Map<String, Value>, rules: &Rules<'_>) -> Result<(), ApiError> {
    let put = |given: &mut Map<String, Value>, from: &str, to: &str, value: Value| {
        if given.get(to).is_some_and(|other| !other.is_null()) {
            return Err(bad(format!("`{from}` stands for `{to}`: give one of them")));
        }
        given.insert(to.into(), value);
        Ok(())
    };
    // An empty list has no effect.
    let stop =
        take(given, "stop").filter(|stop| stop.as_array().is_none_or(|list| !list.is_empty()));
    if let Some(stop) = stop {
        put(given, "stop", "stop_strings", stop)?;
    }
    if let Some(sequence) = take(given, "stop_sequence") {
        let text = sequence.as_str().ok_or_else(|| bad("`stop_sequence` must be a text"))?;
        let id = (rules.first_token)(text)?;
        let id = id.ok_or_else(|| bad("`stop_sequence` holds no token of the model"))?;
        put(given, "stop_sequence", "eos_token_id", id.into())?;
    }
    Ok(())
}

/// Takes out the parameters for long texts.
fn long(given: &mut Map<String, Value>) -> Result<Option<LongOptions>, ApiError> {
    /// The parsed value of a text.
    fn read<T: std::str::FromStr>(
        given: &mut Map<String, Value>,
        name: &str,
        right: &str,
    ) -> Result<Option<T>, ApiError> {
        let read = |value: Value| value.as_str().and_then(|text| text.parse().ok());
        let wrong = || bad(format!("`{name}` must be {right}"));
        take(given, name).map(|value| read(value).ok_or_else(wrong)).transpose()
    }
    let reading = read(given, "long", "\"parts\", \"first\" or \"lexrank\"")?;
    let right = "\"short\", \"medium\", \"long\", or as \"120 words\" or \"10%\"";
    let length = read(given, "length", right)?;
    match (reading, length) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(bad("`length` goes with `long`: give \"long\": \"parts\" too")),
        (Some(reading), length) => Ok(Some(LongOptions { reading, length })),
    }
}
