//! The weights of Flax models, as `flax.serialization.to_bytes` writes them: MessagePack with
//! nested maps by module name, and arrays in them.
//!
//! An array is an extension of type 1 with a list of its shape, the name of its type and its
//! values. Names and axes become PyTorch's as in `transformers/modeling_flax_pytorch_utils.py`
//! (4.57.6).

use rmp::Marker;
use rmp::decode;

use super::strided::{DType, Layout, Located};
use crate::{Error, Result};

/// Limit of nested maps. Real models have 9 levels.
const MAX_DEPTH: usize = 32;
/// Limit of a module's name in bytes.
const MAX_NAME: u32 = 256;
/// Limit of the axes of an array.
const MAX_AXES: u32 = 8;
/// Extension type of an array.
const ARRAY: i8 = 1;
/// Key of a map that holds an array of more than 1 GiB in chunks.
const CHUNKED: &str = "__msgpack_chunked_array__";

/// Reads the tensors of the file `bytes` under PyTorch's names. `file` is its name for messages.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Located)>> {
    let mut reader = Reader { file, bytes, rest: bytes, tensors: Vec::new() };
    reader.map(&mut Vec::new())?;
    let mut tensors = reader.tensors;
    // Flax's collection of parameters was saved along.
    if tensors.iter().all(|(name, _)| name.starts_with("params.")) {
        tensors.iter_mut().for_each(|(name, _)| drop(name.drain(.."params.".len())));
    }
    Ok(tensors)
}

struct Reader<'a> {
    file: &'a str,
    bytes: &'a [u8],
    /// The bytes that are not read yet.
    rest: &'a [u8],
    tensors: Vec<(String, Located)>,
}

impl<'a> Reader<'a> {
    /// Reads a map of modules below `path`.
    fn map(&mut self, path: &mut Vec<&'a str>) -> Result<()> {
        let entries = decode::read_map_len(&mut self.rest).map_err(|_| self.broken())?;
        if path.len() == MAX_DEPTH {
            return Err(self.weights("has maps within maps, which no model has"));
        }
        for _ in 0..entries {
            let name = self.text(MAX_NAME)?;
            if name == CHUNKED {
                return Err(self.weights(
                    "holds an array of more than 1 GiB in parts, which cannot be read: load it \
                     with transformers 4 (from_pretrained(FOLDER, from_flax=True)) and \
                     save_pretrained it",
                ));
            }
            path.push(name);
            match Marker::from_u8(*self.rest.first().ok_or_else(|| self.broken())?) {
                Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => self.map(path)?,
                _ => self.array(path)?,
            }
            path.pop();
        }
        Ok(())
    }

    /// Reads the array at `path`.
    fn array(&mut self, path: &[&str]) -> Result<()> {
        let bad = |problem: String| Error::BadTensor {
            file: self.file.to_owned(),
            name: path.join("."),
            problem,
        };
        let extension = decode::read_ext_meta(&mut self.rest).map_err(|_| {
            bad("is no array: the weights of a model are arrays, and nothing else".to_owned())
        })?;
        let whole = self.take(extension.size)?;
        if extension.typeid != ARRAY {
            return Err(bad(format!("is of type {}, and not an array", extension.typeid)));
        }
        let behind = self.rest;
        self.rest = whole;
        let parts = decode::read_array_len(&mut self.rest).map_err(|_| self.broken())?;
        let axes = decode::read_array_len(&mut self.rest).map_err(|_| self.broken())?;
        if parts != 3 || axes > MAX_AXES {
            return Err(self.broken());
        }
        let shape = (0..axes)
            .map(|_| decode::read_int(&mut self.rest).map_err(|_| self.broken()))
            .collect::<Result<Vec<usize>>>()?;
        let kind = self.text(MAX_NAME)?;
        let dtype = dtype(kind).ok_or_else(|| {
            bad(format!("is of type {kind:?}, which is not supported: use fp32, fp16 or bf16"))
        })?;
        let size = decode::read_bin_len(&mut self.rest).map_err(|_| self.broken())?;
        let start = self.bytes.len() - behind.len() - self.rest.len();
        self.take(size)?;
        self.rest = behind;
        let layout = Layout::contiguous(dtype, shape).map_err(bad)?;
        if layout.span_bytes() != size as usize {
            return Err(bad(format!("has {size} bytes, where its shape and type ask for others")));
        }
        let (name, layout) = torch(path, layout);
        self.tensors.push((name, Located { layout, start }));
        Ok(())
    }

    /// Reads a string of at most `limit` bytes.
    fn text(&mut self, limit: u32) -> Result<&'a str> {
        let size = decode::read_str_len(&mut self.rest).map_err(|_| self.broken())?;
        let bytes = match size <= limit {
            true => self.take(size)?,
            false => return Err(self.weights("has a name that is too long")),
        };
        std::str::from_utf8(bytes).map_err(|_| self.broken())
    }

    /// Reads the next `size` bytes.
    fn take(&mut self, size: u32) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(size as usize).ok_or_else(|| self.broken())?;
        self.rest = rest;
        Ok(taken)
    }

    fn broken(&self) -> Error {
        self.weights("is not a whole file of Flax weights: fetch it again")
    }

    fn weights(&self, problem: &str) -> Error {
        Error::Weights { file: self.file.to_owned(), problem: problem.to_owned() }
    }
}

/// PyTorch's name of a parameter, and its layout with PyTorch's order of axes.
fn torch(path: &[&str], layout: Layout) -> (String, Layout) {
    let (last, modules) = path.split_last().unwrap_or((&"", &[]));
    let (last, layout) = match *last {
        "kernel" if layout.shape().len() == 2 => ("weight", layout.transposed()),
        "scale" | "embedding" => ("weight", layout),
        other => (other, layout),
    };
    let names: Vec<&str> = modules.iter().copied().chain([last]).collect();
    (names.join("."), layout)
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float64" => DType::F64,
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int16" => DType::I16,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        _ => return None,
    })
}
