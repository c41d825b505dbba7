//! The safetensors format: a JSON header with type, shape and offsets of each tensor, then the
//! values.
//!
//! The format is described at <https://github.com/huggingface/safetensors>. Its crate parses the
//! header and checks that tensors lie within the file, without overlaps or gaps.

use safetensors::{Dtype, SafeTensors};

use super::strided::{DType, Layout, Located};
use crate::{Error, Result};

/// Reads the tensors of the file `bytes`. `file` is its name for messages.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Located)>> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| Error::Weights {
        file: file.to_owned(),
        problem: format!("is not a whole safetensors file ({error}): fetch it again"),
    })?;
    let values = header + size_of::<u64>();
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let bad = |problem: String| Error::BadTensor {
            file: file.to_owned(),
            name: name.clone(),
            problem,
        };
        let dtype = dtype(info.dtype).ok_or_else(|| {
            bad(format!(
                "is of type {}, which is not supported: use fp32, fp16 or bf16",
                info.dtype
            ))
        })?;
        let layout = Layout::contiguous(dtype, info.shape.clone()).map_err(bad)?;
        let (start, end) = info.data_offsets;
        let (start, end) = (values.saturating_add(start), values.saturating_add(end));
        if end > bytes.len() || end.checked_sub(start) != Some(layout.span_bytes()) {
            return Err(bad("does not lie within the file".to_owned()));
        }
        tensors.push((name, Located { layout, start }));
    }
    Ok(tensors)
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}
