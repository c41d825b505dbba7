//! What a worker drives: the [`Summarizer`], or a fake of the tests.

use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{LongDocument, Progress, Summarizer};

use super::request::JobParameters;

/// Summarizes documents; owned by one worker.
pub(crate) trait Engine {
    /// Summarizes documents with the same parameters, each as it would be alone.
    fn run(
        &mut self,
        texts: &[&str],
        parameters: &JobParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()>;

    /// Turns text into tokens and back, where the engine can.
    fn tokenizer(&self) -> Option<&Tokenizer>;
}

impl Engine for Summarizer {
    fn run(
        &mut self,
        texts: &[&str],
        parameters: &JobParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()> {
        let Some(options) = &parameters.long else {
            return self.summarize_each(texts, &parameters.generation, progress);
        };
        let documents: Vec<_> = texts.iter().map(|text| LongDocument::new(*text)).collect();
        self.summarize_long_each(&documents, options, &parameters.generation, progress)
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(self.tokenizer())
    }
}

/// Opens an engine: at the start of a worker, and again after a panic.
pub(crate) type OpenEngine =
    dyn Fn() -> Result<Box<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;
