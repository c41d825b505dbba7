//! `Observe`: hands a tensor to whoever watches a model at work, and passes it on.
//!
//! Exports write it into a graph that they run themselves, to learn what a model's matrices are
//! multiplied with. A session without an observer does not know the operator.

use std::fmt::Debug;
use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, output};

/// Its name in a graph.
pub const NAME: &str = "Observe";
/// Attribute, string: what the observer knows the tensor by.
pub const TENSOR: &str = "tensor";

/// Watches tensors of a model at work.
pub trait Observer: Debug + Send + Sync {
    /// The tensor of this name has these values: rows of `size`.
    fn observe(&self, tensor: &str, values: &[f32], size: usize);
}

/// The operator: float32 `x` of `[.., size]` to the same.
pub(super) struct Observe(pub(super) Arc<dyn Observer>);

impl Operator for Observe {
    type Kernel<'attr> = ObserveKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<ObserveKernel> {
        let tensor = context.get::<String>(TENSOR).unwrap_or_default();
        Ok(ObserveKernel { observer: self.0.clone(), tensor })
    }
}

/// A tensor of a loaded graph.
pub(super) struct ObserveKernel {
    observer: Arc<dyn Observer>,
    tensor: String,
}

impl Kernel for ObserveKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        output::<f32>(context, 0, &shape)?.copy_from_slice(x);
        if let Some(&size) = shape.last()
            && !x.is_empty()
        {
            self.observer.observe(&self.tensor, x, size);
        }
        Ok(())
    }
}
