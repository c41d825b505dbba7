//! How matrices are packed in a bundle of a precision, and which operators read them.

use epitome_quantize::{Format, InputProducts, Int4, Int8, Packing, fp16, fp32};
use epitome_runtime::bundle::Precision;
use epitome_runtime::operators::embedding::{EMBEDDING_FP16, EMBEDDING_FP32, EMBEDDING_INT8};
use epitome_runtime::operators::linear::{self, Operators};

use crate::onnx::proto::ElementType;

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A linear layer.
    Layer,
    /// Keys, values or output of a decoder's cross-attention.
    CrossLayer,
    /// A table of tokens, which may be the output layer too.
    Table,
    /// What is kept in float32 whatever the precision.
    Exact,
}

/// How a bundle of this precision packs matrices of this role. Where documents were summarized,
/// `inputs` gives what they show of the matrix.
pub(crate) fn packing(
    precision: Precision,
    role: Role,
    inputs: Option<&dyn Fn() -> Option<InputProducts>>,
) -> Box<dyn Packing> {
    match (precision, role, inputs) {
        (Precision::Fp32, ..) | (_, Role::Exact, _) => fp32(),
        (Precision::Fp16, ..) => fp16(),
        // All that a summary knows of its source passes through cross-attention: rounded to 4 bits,
        // it alone would be a third of what is lost.
        (Precision::Int8, ..)
        | (Precision::Int4, Role::Table, _)
        | (Precision::Int4, Role::CrossLayer, Some(_)) => Box::<Int8>::default(),
        (Precision::Int4, Role::Layer, Some(inputs)) => Box::new(Int4::calibrated(inputs())),
        (Precision::Int4, Role::Layer | Role::CrossLayer, None) => Box::<Int4>::default(),
    }
}

/// The operators that multiply with matrices of a format.
pub(crate) fn operators(format: Format) -> Operators {
    match format {
        Format::Fp32 => linear::FP32,
        Format::Fp16 => linear::FP16,
        Format::Int8 => linear::INT8,
        Format::Int4 => linear::INT4,
    }
}

/// The operator that takes rows of a matrix; none where the format serves no tables.
pub(crate) fn embedding(format: Format) -> Option<&'static str> {
    match format {
        Format::Fp32 => Some(EMBEDDING_FP32),
        Format::Fp16 => Some(EMBEDDING_FP16),
        Format::Int8 => Some(EMBEDDING_INT8),
        Format::Int4 => None,
    }
}

/// The type of the packed tensor.
pub(crate) fn element_type(format: Format) -> ElementType {
    match format {
        Format::Fp32 => ElementType::Float,
        Format::Fp16 => ElementType::Float16,
        Format::Int8 => ElementType::Int8,
        Format::Int4 => ElementType::Uint8,
    }
}
