//! `Observe`: passes a tensor to an [`ActivationObserver`], and returns it unchanged.
//!
//! The exporter adds the operator to graphs for calibration, to observe the inputs of linear
//! layers. A session without an observer does not register the operator.

use std::fmt::Debug;
use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::tensors::{input, output};

/// Name of the operator.
pub const NAME: &str = "Observe";
/// Attribute, string: name of the tensor for the observer.
pub const TENSOR: &str = "tensor";

/// Receives activations of a running model.
pub trait ActivationObserver: Debug + Send + Sync {
    /// Receives the values of the tensor `tensor`: float32 `[rows, size]`.
    fn observe(&self, tensor: &str, values: &[f32], size: usize);
}

/// The operator. Its input and output are float32 `[.., size]`.
pub(super) struct Observe(pub(super) Arc<dyn ActivationObserver>);

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

/// The kernel of a node.
pub(super) struct ObserveKernel {
    observer: Arc<dyn ActivationObserver>,
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
