//! What a worker drives: the [`Summarizer`], or a fake of the tests.

use epitome_runtime::summarizer::Texts;
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, LongDocument, LongOptions, Progress, Summarizer};

/// Summarizes documents; owned by one worker.
pub(crate) trait Engine {
    /// Summarizes texts until none waits, each as it would be alone.
    ///
    /// # Errors
    /// Where the texts that run cannot go on.
    fn run(&mut self, texts: &mut dyn Texts) -> epitome_runtime::Result<()>;

    /// Summarizes a text of any length.
    fn run_long(
        &mut self,
        text: &str,
        options: &LongOptions,
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()>;

    /// Turns text into tokens and back, where the engine can.
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

/// Opens an engine: at the start of a worker, and again after a panic.
pub(crate) type OpenEngine =
    dyn Fn() -> Result<Box<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;
