//! The functions and classes that a pickle may name: those of plain tensors.

use super::fault::{Fault, Read, malformed, shorten};
use crate::checkpoint::strided::DType;

/// The functions and classes that may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: a view of a typed storage.
    TensorV2,
    /// `torch._utils._rebuild_tensor_v3`: a view of an untyped storage, with its type.
    TensorV3,
    /// `torch._utils._rebuild_parameter`, with or without `_with_state`: a trained tensor.
    Parameter,
    /// `torch.FloatStorage` and other typed storages, and `torch.storage.UntypedStorage`.
    Storage(DType),
    /// `torch.float32` and other types.
    DType(DType),
}

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Read<Self> {
        let storage = |dtype| Ok(Self::Storage(dtype));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::TensorV2),
            ("torch._utils", "_rebuild_tensor_v3") => Ok(Self::TensorV3),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Ok(Self::Parameter)
            }
            ("torch.storage", "UntypedStorage") | ("torch", "ByteStorage" | "UntypedStorage") => {
                storage(DType::U8)
            }
            ("torch", "DoubleStorage") => storage(DType::F64),
            ("torch", "FloatStorage") => storage(DType::F32),
            ("torch", "HalfStorage") => storage(DType::F16),
            ("torch", "BFloat16Storage") => storage(DType::BF16),
            ("torch", "LongStorage") => storage(DType::I64),
            ("torch", "IntStorage") => storage(DType::I32),
            ("torch", "ShortStorage") => storage(DType::I16),
            ("torch", "CharStorage") => storage(DType::I8),
            ("torch", "BoolStorage") => storage(DType::Bool),
            ("torch", "float64") => Ok(Self::DType(DType::F64)),
            ("torch", "float32") => Ok(Self::DType(DType::F32)),
            ("torch", "float16") => Ok(Self::DType(DType::F16)),
            ("torch", "bfloat16") => Ok(Self::DType(DType::BF16)),
            ("torch", "int64") => Ok(Self::DType(DType::I64)),
            ("torch", "int32") => Ok(Self::DType(DType::I32)),
            ("torch", "int16") => Ok(Self::DType(DType::I16)),
            ("torch", "int8") => Ok(Self::DType(DType::I8)),
            ("torch", "uint8") => Ok(Self::DType(DType::U8)),
            ("torch", "bool") => Ok(Self::DType(DType::Bool)),
            ("torch", kind) if is_other_type(kind) => malformed(format!(
                "holds values of type torch.{kind}, which is not supported: \
                 use fp32, fp16 or bf16"
            )),
            // Python 2 and protocols below 3 have older names of these modules, which are refused
            // too.
            _ => Err(Fault::Global(shorten(&format!("{module}.{name}")))),
        }
    }
}

/// Whether the name is a type or typed storage of PyTorch that is not supported for weights.
fn is_other_type(name: &str) -> bool {
    const TYPES: [&str; 5] = ["float8", "float4", "complex", "uint", "qint"];
    const STORAGES: [&str; 3] = ["Q", "Complex", "Float8"];
    let storage = name.strip_suffix("Storage");
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain
        && (TYPES.iter().any(|kind| name.starts_with(kind))
            || storage.is_some_and(|name| STORAGES.iter().any(|kind| name.starts_with(kind))))
}
