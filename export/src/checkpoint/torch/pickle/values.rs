//! The values that a pickle builds.
//!
//! They live in one list and refer to each other by position: Python's pickler remembers a
//! container before filling it, so that what is remembered must change with it, and a program that
//! nests or knots values without end costs no more than its length.

use super::fault::{Read, malformed};
use super::global::Global;
use crate::checkpoint::strided::DType;

/// The most values that are built. A tensor takes about twenty; with the limit of the program's
/// size a hostile program cannot make this reader use more than a few hundred megabytes.
pub(super) const MAX_VALUES: usize = 1 << 20;

/// The most axes of a tensor. Weights have up to five.
const MAX_AXES: usize = 8;

/// A tensor as the pickle describes it; nothing about it is checked against the file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint::torch) struct TensorSpec {
    /// The name of the archive's entry under `data/` that holds the storage.
    pub(in crate::checkpoint::torch) storage: String,
    /// The elements that the storage has, each of `storage_type`.
    pub(in crate::checkpoint::torch) storage_len: usize,
    /// The type of the storage's elements; bytes when it is untyped.
    pub(in crate::checkpoint::torch) storage_type: DType,
    /// The type of the tensor's elements.
    pub(in crate::checkpoint::torch) dtype: DType,
    /// The first element, counted in elements from the storage's begin.
    pub(in crate::checkpoint::torch) offset: usize,
    pub(in crate::checkpoint::torch) shape: Vec<usize>,
    pub(in crate::checkpoint::torch) strides: Vec<usize>,
}

/// The position of a value in the machine's list.
pub(super) type Id = usize;

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Str(&'a str),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A storage of the archive: its entry, its type and its number of elements.
    Storage(&'a str, DType, usize),
    Tensor(Box<TensorSpec>),
}

/// The values built so far.
#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    list: Vec<Value<'a>>,
}

impl<'a> Values<'a> {
    /// Adds a value, and tells its position.
    pub(super) fn push(&mut self, value: Value<'a>) -> Read<Id> {
        if self.list.len() == MAX_VALUES {
            return malformed("has a pickle with more values than any state dictionary");
        }
        self.list.push(value);
        Ok(self.list.len() - 1)
    }

    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.list[id]
    }

    /// All values, in the order in which they were built.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Value<'a>> {
        self.list.iter()
    }

    pub(super) fn append(&mut self, to: Id, items: Vec<Id>) -> Read<()> {
        match &mut self.list[to] {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => malformed(format!("appends to {}", self.kind(to))),
        }
    }

    pub(super) fn set_items(&mut self, to: Id, items: &[Id]) -> Read<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.list[to] {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            Value::Dict(_) => malformed("has a pickle with a key but no value"),
            _ => malformed(format!("sets an item of {}", self.kind(to))),
        }
    }

    pub(super) fn size(&self, id: Id) -> Read<usize> {
        match self.list[id] {
            Value::Int(int) => match usize::try_from(int) {
                Ok(size) => Ok(size),
                Err(_) => malformed(format!("has a size or offset of {int}")),
            },
            _ => malformed(format!("has {} as a size or offset", self.kind(id))),
        }
    }

    pub(super) fn sizes(&self, id: Id) -> Read<Vec<usize>> {
        match &self.list[id] {
            Value::Tuple(items) if items.len() <= MAX_AXES => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            Value::Tuple(items) => malformed(format!("has a tensor of {} axes", items.len())),
            _ => malformed(format!("has {} as a tensor's shape", self.kind(id))),
        }
    }

    pub(super) fn kind(&self, id: Id) -> &'static str {
        match self.list[id] {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "an integer",
            Value::Float => "a number",
            Value::Str(_) => "text",
            Value::Bytes => "bytes",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Global(_) => "a class",
            Value::Storage(..) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}
