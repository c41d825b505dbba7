//! What every request handler sees.

use std::sync::Arc;

use epitome_documents::isolated::Extractor;

use crate::backend::Backend;
use crate::context::Context;
use crate::models::Registry;
use crate::objects::AsyncCalls;

/// The server's state.
pub(crate) struct App {
    pub(crate) context: Arc<Context>,
    /// What answers.
    pub(crate) backend: Arc<dyn Backend>,
    /// The models that come and go through `/models`, where they do.
    pub(crate) registry: Option<Arc<Registry>>,
    /// Asynchronous calls of local mode, where it has S3.
    pub(crate) async_calls: Option<AsyncCalls>,
    /// Reads files that the page sends, where it can.
    pub(crate) documents: Option<Extractor>,
}
