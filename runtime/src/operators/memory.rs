//! Memory that the layers of a session share. They run one after another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epitome_kernels::experts::Gathered;
use epitome_kernels::feed_forward::Inner;
use epitome_kernels::linear::WeightFormat;

/// What layers of a format need while they run. It is kept from one run to the next, which saves an
/// allocation; one for each layer would take as much memory as a long source's keys and values.
pub(super) struct Memory<F: WeightFormat> {
    /// Activations as the format reads them.
    activations: Arc<Mutex<F::Activations>>,
    shared: Shared,
}

/// The part that layers of all formats share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    /// What lies between the layers of a [`FeedForward`](super::feed_forward).
    inner: Arc<Mutex<Inner>>,
    /// The rows of an expert.
    gathered: Arc<Mutex<Gathered>>,
}

impl<F: WeightFormat> Memory<F> {
    /// Memory of a format.
    pub(super) fn new(shared: &Shared) -> Self {
        Self { activations: Arc::default(), shared: shared.clone() }
    }

    pub(super) fn activations(&self) -> MutexGuard<'_, F::Activations> {
        lock(&self.activations)
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.shared.inner)
    }

    pub(super) fn gathered(&self) -> MutexGuard<'_, Gathered> {
        lock(&self.shared.gathered)
    }
}

impl<F: WeightFormat> Clone for Memory<F> {
    fn clone(&self) -> Self {
        Self { activations: self.activations.clone(), shared: self.shared.clone() }
    }
}

/// All is made anew in each run, whatever a run that failed left of it.
fn lock<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
