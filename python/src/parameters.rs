//! Keyword arguments to generation parameters.

use epitome_runtime::GenerationParameters;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::errors::{Class, exception};

/// Deepest nesting of lists. Those of `force_words_ids`, the deepest ones, have three levels.
const MAX_DEPTH: usize = 8;

/// Reads keyword arguments with the names and types of transformers.
pub(crate) fn read(given: &Bound<'_, PyDict>) -> PyResult<GenerationParameters> {
    let mut fields = Map::new();
    for (name, value) in given {
        let name: String = name.extract()?;
        let value = json(&name, &value, 0)?;
        fields.insert(name, value);
    }
    GenerationParameters::from_json(&fields)
        .map_err(|error| exception(given.py(), Class::Parameter, error))
}

/// A value of Python, NumPy or PyTorch as JSON. Values that JSON cannot hold (NaN, infinity, huge
/// integers) become text, and are refused by the parameter's name.
fn json(name: &str, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let refused = |what: &str| {
        let message = format!("generation parameter `{name}` is {what}, which it cannot be");
        Err(exception(value.py(), Class::Parameter, message))
    };
    if depth > MAX_DEPTH {
        return refused("nested deeply");
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if value.is_instance_of::<PyBool>() {
        return Ok(value.extract::<bool>()?.into());
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(match value.extract::<i64>() {
            Ok(number) => number.into(),
            Err(_) => value.str()?.to_string().into(),
        });
    }
    if value.is_instance_of::<PyFloat>() {
        let number: f64 = value.extract()?;
        return Ok(Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::from));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(value.extract::<String>()?.into());
    }
    if let Ok(map) = value.cast::<PyDict>() {
        return object(name, map, depth);
    }
    let is_list = value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>();
    if is_list {
        let items = value.try_iter()?.map(|item| json(name, &item?, depth + 1));
        return Ok(Value::Array(items.collect::<PyResult<_>>()?));
    }
    // Arrays and numbers of NumPy, and tensors of PyTorch.
    if value.hasattr("tolist")? {
        return json(name, &value.call_method0("tolist")?, depth + 1);
    }
    refused(&format!("of type {}", value.get_type().name()?))
}

/// A dictionary. If its keys are tuples, as in `sequence_bias`, it becomes a list of pairs.
fn object(name: &str, map: &Bound<'_, PyDict>, depth: usize) -> PyResult<Value> {
    if map.keys().iter().all(|key| key.is_instance_of::<PyString>()) {
        let fields = map
            .iter()
            .map(|(key, value)| Ok((key.extract::<String>()?, json(name, &value, depth + 1)?)));
        return Ok(Value::Object(fields.collect::<PyResult<_>>()?));
    }
    let pairs = map.iter().map(|(key, value)| {
        Ok(Value::Array(vec![json(name, &key, depth + 1)?, json(name, &value, depth + 1)?]))
    });
    Ok(Value::Array(pairs.collect::<PyResult<_>>()?))
}
