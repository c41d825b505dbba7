//! The interface of a model to its worker: the [`Summarizer`] implements it, and a fake in tests.

use epitome_runtime::summarizer::Texts;
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, LongDocument, LongOptions, Progress, Summarizer};

/// Summarizes documents; owned by one worker.
pub(crate) trait Engine {
    /// Summarizes texts until none waits.
    ///
    /// # Errors
    /// If a decoder step fails, so that the running texts cannot go on.
    fn run(&mut self, texts: &mut dyn Texts) -> epitome_runtime::Result<()>;

    /// Summarizes a text of any length.
    fn run_long(
        &mut self,
        text: &str,
        options: &LongOptions,
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()>;

    /// The tokenizer of the model, if there is one.
    fn tokenizer(&self) -> Option<&Tokenizer>;
}

impl Engine for Summarizer {
    fn run(&mut self, texts: &mut dyn Texts) -> epitome_runtime::Result<()> {
        self.run(texts)
    }

    fn run_long(
        &mut self,
        text: &str,
        options: &LongOptions,
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()> {
        self.summarize_long_each(&[LongDocument::new(text)], options, parameters, progress)
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(self.tokenizer())
    }
}

/// Opens an engine, at the start of a worker and again after a panic.
pub(crate) type OpenEngine =
    dyn Fn() -> Result<Box<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;
