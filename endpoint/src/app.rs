//! State of the request handlers.

use std::sync::Arc;

use epitome_documents::isolated::Extractor;

use crate::backend::Backend;
use crate::context::Context;
use crate::models::Registry;
use crate::objects::AsyncCalls;

/// State of the server.
pub(crate) struct App {
    pub(crate) context: Arc<Context>,
    /// Answers requests for summaries.
    pub(crate) backend: Arc<dyn Backend>,
    /// The models of `/models`, if the server is a multi-model endpoint.
    pub(crate) registry: Option<Arc<Registry>>,
    /// Asynchronous calls of local mode, if S3 is available.
    pub(crate) async_calls: Option<AsyncCalls>,
    /// Reads files that the page sends, if available.
    pub(crate) documents: Option<Extractor>,
}
