//! The threads of a session, as kernels use them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use epitome_kernels::parallel::ThreadPool;
use ort::operator::ComputeContext;

/// The threads that ONNX Runtime lends to an operator.
pub(super) struct SessionThreads<'a>(pub(super) &'a ComputeContext);

impl ThreadPool for SessionThreads<'_> {
    type Error = ort::Error;

    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> ort::Result<()> {
        let panicked = AtomicBool::new(false);
        // As many batches as tasks: a thread that is held up elsewhere leaves its tasks to the
        // others.
        self.0.par_for(count, count, |index| {
            // ONNX Runtime calls this from C++, which a panic must not reach.
            if catch_unwind(AssertUnwindSafe(|| task(index))).is_err() {
                panicked.store(true, Ordering::Relaxed);
            }
        })?;
        match panicked.into_inner() {
            true => Err(ort::Error::new("a thread of the operator panicked, which is a bug")),
            false => Ok(()),
        }
    }
}
