//! Packing and operators of matrices, by precision.

use epitome_quantize::{Format, InputProducts, Int4, Int8, Packing, fp16, fp32};
use epitome_runtime::bundle::Precision;
use epitome_runtime::operators::embedding::{EMBEDDING_FP16, EMBEDDING_FP32, EMBEDDING_INT8};
use epitome_runtime::operators::linear::{self, Operators};

use crate::onnx::proto::ElementType;

/// Role of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A linear layer.
    Layer,
    /// Keys, values or output of the decoder's cross-attention.
    CrossLayer,
    /// An embedding table, which may also be the output layer.
    Table,
    /// A matrix in float32 in every precision.
    Exact,
}

/// The packing of matrices of this role in this precision. With calibration, `inputs` returns the
/// data of the matrix.
pub(crate) fn packing(
    precision: Precision,
    role: Role,
    inputs: Option<&dyn Fn() -> Option<InputProducts>>,
) -> Box<dyn Packing> {
    match (precision, role, inputs) {
        (Precision::Fp32, ..) | (_, Role::Exact, _) => fp32(),
        (Precision::Fp16, ..) => fp16(),
        // All information of the source passes through cross-attention. With 4 bits it would cause
        // a third of the loss.
        (Precision::Int8, ..)
        | (Precision::Int4, Role::Table, _)
        | (Precision::Int4, Role::CrossLayer, Some(_)) => Box::<Int8>::default(),
        (Precision::Int4, Role::Layer, Some(inputs)) => Box::new(Int4::calibrated(inputs())),
        (Precision::Int4, Role::Layer | Role::CrossLayer, None) => Box::<Int4>::default(),
    }
}

/// The operators for matrices of a format.
pub(crate) fn operators(format: Format) -> Operators {
    match format {
        Format::Fp32 => linear::FP32,
        Format::Fp16 => linear::FP16,
        Format::Int8 => linear::INT8,
        Format::Int4 => linear::INT4,
    }
}

/// The operator that looks up rows of a matrix; `None` if the format does not support tables.
pub(crate) fn embedding(format: Format) -> Option<&'static str> {
    match format {
        Format::Fp32 => Some(EMBEDDING_FP32),
        Format::Fp16 => Some(EMBEDDING_FP16),
        Format::Int8 => Some(EMBEDDING_INT8),
        Format::Int4 => None,
    }
}

/// Element type of the packed tensor.
pub(crate) fn element_type(format: Format) -> ElementType {
    match format {
        Format::Fp32 => ElementType::Float,
        Format::Fp16 => ElementType::Float16,
        Format::Int8 => ElementType::Int8,
        Format::Int4 => ElementType::Uint8,
    }
}
