//! Objects on S3, which asynchronous calls of local mode read and write.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Calls that may be waiting or under way.
pub(crate) const MAX_CALLS: u32 = 256;
/// Calls that are under way at a time: each holds its input and its answer in memory.
pub(crate) const MAX_RUNNING: usize = 4;

/// Objects on S3. All calls block.
pub trait Objects: Send + Sync {
    /// The bytes of an object.
    ///
    /// # Errors
    /// What is against it, in one sentence; also where there are more than `limit` bytes.
    fn get(&self, address: &str, limit: usize) -> Result<Vec<u8>, String>;

    /// Writes an object.
    ///
    /// # Errors
    /// What is against it, in one sentence.
    fn put(&self, address: &str, bytes: &[u8]) -> Result<(), String>;
}

/// Where asynchronous calls find their inputs, and where they wait.
pub(crate) struct AsyncCalls {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) turns: Arc<Semaphore>,
    /// Where they wait before anything is read.
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

    /// Waits until all calls that were accepted are answered.
    pub(crate) async fn answered(&self) {
        // It fails only where the semaphore is closed, which never happens.
        let _ = self.turns.acquire_many(MAX_CALLS).await;
    }
}
