//! Scratch memory that the operators of a session share. They run one after another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epitome_kernels::experts::Gathered;
use epitome_kernels::feed_forward::Inner;
use epitome_kernels::linear::WeightFormat;

/// Scratch memory of the operators of a weight format. It is kept between runs, to save
/// allocations. With one for each layer, it would take as much memory as the keys and values of a
/// long source.
pub(super) struct ScratchBuffers<F: WeightFormat> {
    /// Activations in the format's layout.
    activations: Arc<Mutex<F::Activations>>,
    shared: SharedBuffers,
}

/// Scratch memory that the operators of all formats share.
#[derive(Clone, Default)]
pub(super) struct SharedBuffers {
    /// Inner activations of [`FeedForward`](super::feed_forward).
    inner: Arc<Mutex<Inner>>,
    /// Rows of an expert.
    gathered: Arc<Mutex<Gathered>>,
}

impl<F: WeightFormat> ScratchBuffers<F> {
    /// Scratch memory of a format.
    pub(super) fn new(shared: &SharedBuffers) -> Self {
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

impl<F: WeightFormat> Clone for ScratchBuffers<F> {
    fn clone(&self) -> Self {
        Self { activations: self.activations.clone(), shared: self.shared.clone() }
    }
}

/// Locks the memory. A failed run may have left anything in it, since each run overwrites it.
fn lock<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
