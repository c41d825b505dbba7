//! Objects on S3, which asynchronous calls of local mode read and write.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Calls that may be waiting or under way.
pub(crate) const MAX_CALLS: usize = 256;

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
}

impl AsyncCalls {
    pub(crate) fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, turns: Arc::new(Semaphore::new(MAX_CALLS)) }
    }
}
