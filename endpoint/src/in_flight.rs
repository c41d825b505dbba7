//! The memory of all running requests, bounded for the process.

use std::sync::{Arc, Mutex, PoisonError};

use crate::allocator;
use crate::error::ApiError;

/// Largest memory per byte of a body while it is read: the received body, the uncompressed body,
/// and the texts without escapes.
const COST_PER_BYTE: usize = 4;
/// Largest body that may use the whole budget. Larger bodies may use three quarters of it, so that
/// they never shut out small ones.
const SMALL_BODY: usize = 64 << 10;

/// Memory budget of all running requests.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Mutex<usize>,
}

impl Budget {
    /// A budget that holds at least one body of the largest size.
    pub(crate) fn new(limit: usize, max_body: usize) -> Arc<Self> {
        let one_body = max_body.saturating_mul(COST_PER_BYTE).saturating_mul(4) / 3;
        Arc::new(Self {
            limit: limit.max(one_body.saturating_add(SMALL_BODY * COST_PER_BYTE)),
            used: Mutex::default(),
        })
    }

    /// Creates an empty charge.
    pub(crate) fn open(self: &Arc<Self>) -> Charge {
        Charge { budget: self.clone(), bytes: 0, taken: 0 }
    }
}

/// The share of the budget that a request has taken. Dropping it returns the share.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    /// Length of the body in bytes.
    bytes: usize,
    /// Bytes taken from the budget.
    taken: usize,
}

impl Charge {
    /// Takes memory for more bytes of the body.
    ///
    /// # Errors
    /// [`ApiError::MemoryInUse`] if other requests hold too much.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = self.used_with(*used, bytes)?;
        self.bytes += bytes;
        self.taken += bytes.saturating_mul(COST_PER_BYTE);
        Ok(())
    }

    /// Checks whether this many bytes would fit now. A body that cannot fit is thus refused before
    /// it is read, and a body that is announced and never sent takes nothing.
    ///
    /// # Errors
    /// [`ApiError::MemoryInUse`] if they would not fit.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), ApiError> {
        let used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.used_with(*used, bytes).map(drop)
    }

    fn used_with(&self, used: usize, bytes: usize) -> Result<usize, ApiError> {
        let small = self.bytes.saturating_add(bytes) <= SMALL_BODY;
        let limit = if small { self.budget.limit } else { self.budget.limit / 4 * 3 };
        let wanted = used.saturating_add(bytes.saturating_mul(COST_PER_BYTE));
        if wanted > limit { Err(ApiError::MemoryInUse) } else { Ok(wanted) }
    }

    /// Returns the memory for reading the body. Only the texts remain.
    pub(crate) fn body_is_read(&mut self) {
        self.give_back(self.taken - self.bytes);
    }

    fn give_back(&mut self, bytes: usize) {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used -= bytes;
        self.taken -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.taken);
        allocator::freed(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_room_for_small_ones_and_all_is_given_back() {
        let budget = Budget::new(0, 3 << 20);
        let mut large = budget.open();
        large.grow(3 << 20).unwrap();
        let mut second = budget.open();
        assert_eq!(second.check(1 << 20), Err(ApiError::MemoryInUse));
        assert_eq!(second.grow(1 << 20), Err(ApiError::MemoryInUse));
        let mut small = budget.open();
        small.grow(SMALL_BODY).unwrap();
        large.body_is_read();
        second.check(1 << 20).unwrap();
        second.grow(1 << 20).unwrap();
        drop(large);
        drop((second, small));
        assert_eq!(*budget.used.lock().unwrap(), 0);
    }
}
