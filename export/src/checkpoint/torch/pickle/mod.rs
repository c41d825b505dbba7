//! The pickle inside a `pytorch_model.bin`, read as data.
//!
//! A pickle is a program for a stack machine whose instructions can call any Python function, so
//! that loading one can run code. This interpreter has the instructions that Python's pickler
//! writes for protocols 2 to 5 (PEP 307, PEP 3154 and PEP 574; CPython's `Lib/pickletools.py`
//! describes each). It builds only inert values, and knows by name the few functions of plain
//! tensors in a state dictionary (PyTorch's `torch/_utils.py` and `torch/serialization.py`). Naming
//! any other function or class is an error, called or not.

mod fault;
mod global;
mod machine;
mod opcode;
mod rebuild;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use std::collections::HashMap;

pub(super) use fault::Fault;
pub(super) use values::TensorSpec;

use fault::{Read, malformed};
use machine::Machine;
use values::Value;

use crate::checkpoint::strided::DType;

/// Size limit of a program in bytes. A state dictionary takes about 200 bytes for each tensor.
const MAX_SIZE: usize = 8 << 20;

/// Reads the tensors of the state dictionary that `program` builds, by name.
pub(super) fn read_state_dict(program: &[u8]) -> Read<Vec<(String, TensorSpec)>> {
    if program.len() > MAX_SIZE {
        return malformed(format!("has a pickle larger than {} MB", MAX_SIZE >> 20));
    }
    let mut machine = Machine::new(program);
    let result = machine.run()?;
    rebuild::state_dict(&machine.values, result)
}

/// The pickles at the begin of a file from before PyTorch 1.6.
pub(super) struct LegacyHeader {
    /// The tensors of the state dictionary, by name.
    pub(super) tensors: Vec<(String, TensorSpec)>,
    /// The storages in file order: name, type and number of elements.
    pub(super) storages: Vec<(String, DType, usize)>,
    /// Whether values are stored little-endian.
    pub(super) little_endian: bool,
    /// Number of bytes before the first storage.
    pub(super) size: usize,
}

/// The pickle of PyTorch's magic number, the begin of a file from before PyTorch 1.6.
const LEGACY_BEGIN: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file is in the format of `torch.save` before version 1.6.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(LEGACY_BEGIN)
}

/// Reads the five pickles of a file from before PyTorch 1.6: a magic number, the format's version,
/// a description of the machine, the state dictionary, and the names of the storages that follow.
pub(super) fn read_legacy(bytes: &[u8]) -> Read<LegacyHeader> {
    let header = &bytes[..bytes.len().min(MAX_SIZE)];
    let mut at = LEGACY_BEGIN.len();
    let mut next = || {
        let mut machine = Machine::new(&header[at..]);
        let result = machine.run()?;
        at += machine.position();
        Ok((machine.values, result))
    };
    let (values, version) = next()?;
    if !matches!(values.get(version), Value::Int(1001)) {
        return malformed("is in an unknown version of PyTorch's old format: save it again");
    }
    let (values, system) = next()?;
    let little_endian = match values.get(system) {
        Value::Dict(items) => items.iter().any(|&(key, value)| {
            matches!(values.get(key), Value::Str("little_endian"))
                && matches!(values.get(value), Value::Bool(true))
        }),
        _ => false,
    };
    let (values, dictionary) = next()?;
    let tensors = rebuild::state_dict(&values, dictionary)?;
    let described: HashMap<&str, (DType, usize)> = values
        .iter()
        .filter_map(|value| match *value {
            Value::Storage(key, dtype, len) => Some((key, (dtype, len))),
            _ => None,
        })
        .collect();
    let (values, keys) = next()?;
    let Value::List(keys) = values.get(keys) else {
        return malformed("does not list its storages");
    };
    let storages = keys.iter().map(|&key| match *values.get(key) {
        Value::Str(key) => match described.get(key) {
            Some(&(dtype, len)) => Ok((key.to_owned(), dtype, len)),
            None => malformed("lists a storage that no tensor has"),
        },
        _ => malformed(format!("has {} as a storage's name", values.kind(key))),
    });
    Ok(LegacyHeader { tensors, storages: storages.collect::<Read<_>>()?, little_endian, size: at })
}
