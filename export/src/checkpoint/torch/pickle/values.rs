//! The values that a pickle builds.
//!
//! They are in one list and refer to each other by position. Python's pickler memoizes a container
//! before filling it, so that memoized values must change with it. And nested or cyclic values cost
//! no more memory than the length of the program.

use super::fault::{Read, malformed};
use super::global::Global;
use crate::checkpoint::strided::DType;

/// Limit of values. A tensor takes about twenty. With the size limit of programs, a hostile program
/// cannot use more than a few hundred megabytes.
pub(super) const MAX_VALUES: usize = 1 << 20;

/// Limit of the axes of a tensor. Weights have up to five.
const MAX_AXES: usize = 8;

/// A tensor as the pickle describes it. Nothing is checked against the file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint::torch) struct TensorSpec {
    /// Name of the archive's entry under `data/` that holds the storage.
    pub(in crate::checkpoint::torch) storage: String,
    /// Number of elements of the storage, of `storage_type`.
    pub(in crate::checkpoint::torch) storage_len: usize,
    /// Element type of the storage; bytes if it is untyped.
    pub(in crate::checkpoint::torch) storage_type: DType,
    /// Element type of the tensor.
    pub(in crate::checkpoint::torch) dtype: DType,
    /// Offset of the first element in the storage, in elements.
    pub(in crate::checkpoint::torch) offset: usize,
    pub(in crate::checkpoint::torch) shape: Vec<usize>,
    pub(in crate::checkpoint::torch) strides: Vec<usize>,
}

/// Position of a value in the list.
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
    /// Adds a value, and returns its position.
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
