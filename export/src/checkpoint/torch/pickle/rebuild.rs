//! Results of the functions named in a pickle: storages, tensors and the state dictionary.
//!
//! See `torch/_utils.py` and `torch/serialization.py`.

use std::collections::{BTreeMap, HashMap};

use super::fault::{Fault, Read, malformed, shorten};
use super::global::Global;
use super::values::{Id, TensorSpec, Value, Values};
use crate::checkpoint::strided::DType;

/// Limit of a storage's name. PyTorch uses numbers.
const MAX_STORAGE_NAME: usize = 64;

/// The storage of a persistent id: `("storage", type, key, device, number of elements)`.
///
/// Before version 1.6 PyTorch wrote a sixth item. It is `None` except for storages that are a part
/// of another, which do not exist since version 0.4.
pub(super) fn storage<'a>(values: &Values<'a>, id: Id) -> Read<Value<'a>> {
    if let Value::Tuple(items) = values.get(id)
        && let [tag, class, key, _device, len, view @ ..] = items.as_slice()
        && let Value::Str("storage") = *values.get(*tag)
        && let Value::Global(Global::Storage(dtype)) = *values.get(*class)
        && let Value::Str(key) = *values.get(*key)
        && key.len() <= MAX_STORAGE_NAME
        && view.iter().all(|&id| matches!(values.get(id), Value::None))
    {
        Ok(Value::Storage(key, dtype, values.size(*len)?))
    } else {
        malformed("refers to something other than a storage")
    }
}

/// The result of one of the functions that may be called.
pub(super) fn call<'a>(values: &Values<'a>, callable: Id, args: Id) -> Read<Value<'a>> {
    let (&Value::Global(global), Value::Tuple(args)) = (values.get(callable), values.get(args))
    else {
        return malformed(format!("calls {}", values.kind(callable)));
    };
    match (global, args.as_slice()) {
        (Global::OrderedDict, []) => Ok(Value::Dict(vec![])),
        (Global::TensorV2, [storage, offset, shape, strides, ..]) => {
            tensor(values, None, [*storage, *offset, *shape, *strides])
        }
        (Global::TensorV3, [storage, offset, shape, strides, _grad, _hooks, dtype, ..]) => {
            let Value::Global(Global::DType(dtype)) = *values.get(*dtype) else {
                return malformed("has a tensor without a type");
            };
            tensor(values, Some(dtype), [*storage, *offset, *shape, *strides])
        }
        (Global::Parameter, [tensor, ..]) => match values.get(*tensor) {
            Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
            _ => malformed(format!("makes a parameter of {}", values.kind(*tensor))),
        },
        _ => malformed(format!("calls {global:?} with {} arguments", args.len())),
    }
}

/// A view of a storage, with elements of type `dtype` or of the storage's own type.
fn tensor<'a>(
    values: &Values<'a>,
    dtype: Option<DType>,
    [storage, offset, shape, strides]: [Id; 4],
) -> Read<Value<'a>> {
    let Value::Storage(key, storage_type, storage_len) = *values.get(storage) else {
        return malformed(format!("makes a tensor of {}", values.kind(storage)));
    };
    Ok(Value::Tensor(Box::new(TensorSpec {
        storage: key.to_owned(),
        storage_len,
        storage_type,
        dtype: dtype.unwrap_or(storage_type),
        offset: values.size(offset)?,
        shape: values.sizes(shape)?,
        strides: values.sizes(strides)?,
    })))
}

/// The tensors of the dictionary `id`. If a key is set twice, the last value counts, as in Python.
pub(super) fn state_dict<'a>(values: &Values<'a>, id: Id) -> Read<Vec<(String, TensorSpec)>> {
    let Value::Dict(items) = values.get(id) else {
        return malformed(format!(
            "holds {}, not a dictionary of tensors: save model.state_dict()",
            values.kind(id)
        ));
    };
    // Compares values first, so that a long name that is set very often is compared only once.
    let last_of: HashMap<Id, usize> =
        items.iter().enumerate().map(|(at, &(key, _))| (key, at)).collect();
    let mut last = BTreeMap::new();
    for (at, &(key, value)) in items.iter().enumerate() {
        if last_of[&key] != at {
            continue;
        }
        let Value::Str(name) = *values.get(key) else {
            return malformed(format!("has {} as a tensor's name", values.kind(key)));
        };
        last.insert(name, value);
    }
    let mut tensors = Vec::with_capacity(last.len());
    for (name, value) in last {
        match values.get(value) {
            Value::Tensor(tensor) => tensors.push((name.to_owned(), (**tensor).clone())),
            _ => {
                return Err(Fault::NotATensor {
                    name: shorten(name),
                    kind: values.kind(value).to_owned(),
                });
            }
        }
    }
    Ok(tensors)
}
