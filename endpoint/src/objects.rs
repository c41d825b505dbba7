//! Objects on S3, for the asynchronous calls of local mode.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Largest number of waiting and running calls.
pub(crate) const MAX_CALLS: u32 = 256;
/// Largest number of running calls. Each holds its input and its answer in memory.
pub(crate) const MAX_RUNNING: usize = 4;

/// Objects on S3. All calls block.
pub trait Objects: Send + Sync {
    /// Reads an object.
    ///
    /// # Errors
    /// If that fails, or the object has more than `limit` bytes. The message is one sentence.
    fn get(&self, address: &str, limit: usize) -> Result<Vec<u8>, String>;

    /// Writes an object.
    ///
    /// # Errors
    /// If that fails. The message is one sentence.
    fn put(&self, address: &str, bytes: &[u8]) -> Result<(), String>;
}

/// Access to S3 for asynchronous calls, and limits of their number.
pub(crate) struct AsyncCalls {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) turns: Arc<Semaphore>,
    /// Permits for running calls.
    pub(crate) running: Arc<Semaphore>,
}

impl AsyncCalls {
    pub(crate) fn new(objects: Arc<dyn Objects>) -> Self {
        Self {
            objects,
            turns: Arc::new(Semaphore::new(MAX_CALLS as usize)),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
        }
    }

    /// Waits until all accepted calls are answered.
    pub(crate) async fn answered(&self) {
        // Acquiring fails only if the semaphore is closed, which never happens.
        let _ = self.turns.acquire_many(MAX_CALLS).await;
    }
}
