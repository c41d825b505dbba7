//! The threads of a session, as a thread pool of the kernels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use epitome_kernels::parallel::ThreadPool;
use ort::operator::ComputeContext;

/// ONNX Runtime's threads for an operator.
pub(super) struct SessionThreads<'a>(pub(super) &'a ComputeContext);

impl ThreadPool for SessionThreads<'_> {
    type Error = ort::Error;

    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> ort::Result<()> {
        let panicked = AtomicBool::new(false);
        // Each task is a batch, so that free threads take the tasks of a thread that is late.
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
