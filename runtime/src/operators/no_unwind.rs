//! Operators whose panics become errors.
//!
//! ONNX Runtime calls operators from C++. A panic that reached C++ would abort the process.
//! Operators check their inputs and return errors, so that only bugs panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};

/// An operator whose panics become errors.
pub(super) struct NoUnwind<O>(pub(super) O);

/// A kernel whose panics become errors.
pub(super) struct NoUnwindKernel<K>(K);

impl<O: Operator> Operator for NoUnwind<O> {
    type Kernel<'attr> = NoUnwindKernel<O::Kernel<'attr>>;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        self.0.inputs()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        self.0.outputs()
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<Self::Kernel<'attr>> {
        or_error(|| self.0.create_kernel(context)).map(NoUnwindKernel)
    }
}

impl<K: Kernel> Kernel for NoUnwindKernel<K> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        or_error(|| self.0.compute(context))
    }
}

/// The result of the call, or an error if the call panics.
fn or_error<T>(call: impl FnOnce() -> ort::Result<T>) -> ort::Result<T> {
    // A panic leaves incomplete outputs, which ONNX Runtime drops after an error, and scratch
    // memory, which the next call overwrites.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = message(&*panic);
        Err(ort::Error::new(format!("the operator panicked, which is a bug: {message}")))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors() {
        // The library allocates the errors.
        crate::library::OnnxRuntime::load().unwrap();
        let result: ort::Result<()> = or_error(|| panic!("index {} of {}", 7, 3));
        assert!(result.unwrap_err().message().contains("index 7 of 3"));
        let result: ort::Result<()> = or_error(|| std::panic::panic_any(7));
        assert!(result.unwrap_err().message().contains("no reason"));
        assert_eq!(or_error(|| Ok(7)).unwrap(), 7);
    }
}
