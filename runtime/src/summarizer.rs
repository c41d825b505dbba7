//! The [`Summarizer`]: texts to summaries.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::batching::{Batcher, Bounds, Demand, Documents, Goal, Task};
use crate::bundle::{Bundle, TOKENIZER};
use crate::error::{Error, Result};
use crate::generation::{
    Generated, GenerationConfig, GenerationParameters, Hypothesis, Limits, Source, StopReason,
};
use crate::observer::Observer;
use crate::progress::Progress;
use crate::session::{self, Decoder, Encoder, SessionOptions};
use crate::summary::{Sequence, Summary, Timing};
use crate::tokenizer::{SourceTokens, Tokenizer};

/// Default maximum of rows (documents times beams) that are decoded together. More rows share one
/// reading of the weights, but each row adds its caches to memory.
pub const ROWS_TOGETHER: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// A loaded bundle.
pub struct Summarizer {
    model: TextModel,
    batcher: Batcher,
}

/// The part of a model that converts texts, tokens and parameters.
pub struct TextModel {
    bundle: Bundle,
    tokenizer: Tokenizer,
    settings: ModelSettings,
}

/// Texts that wait to be summarized. Each text that was taken has its own number.
pub trait Texts: Observer<Result<Summary>> {
    /// The number of waiting texts, and the demand of the next one.
    fn waiting(&mut self) -> Option<(usize, Demand)>;

    /// Whether to optimize throughput or latency. Called after [`waiting`](Self::waiting), where it
    /// decides whether the next text joins.
    fn goal(&self) -> Goal {
        Goal::Throughput
    }

    /// Takes the next text, and returns its number.
    fn take(&mut self) -> Option<usize>;

    /// The text with this number.
    fn text(&self, number: usize) -> &str;

    /// The generation configuration of the text with this number.
    ///
    /// # Errors
    /// If the parameters of the text do not fit the model.
    fn config(&self, number: usize, model: &TextModel) -> Result<Arc<GenerationConfig>>;
}

/// Limits and default generation parameters of a model.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    defaults: Map<String, Value>,
    limits: Limits,
}

impl ModelSettings {
    /// The settings of an exported model.
    pub fn of(bundle: &Bundle) -> Result<Self> {
        let shape = &bundle.manifest().shape;
        Ok(Self {
            defaults: bundle.generation_config()?,
            limits: Limits {
                max_target_positions: shape.max_target_positions,
                vocab_size: shape.vocab_size,
                global_attention: shape.global_attention,
            },
        })
    }

    /// The model's defaults, under transformers' names.
    pub fn defaults(&self) -> &Map<String, Value> {
        &self.defaults
    }

    /// Merges these parameters with the defaults, and checks the result.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        Ok(GenerationConfig::resolve(&self.defaults, parameters, self.limits)?)
    }
}

impl Summarizer {
    /// Loads a bundle with the threads this process may use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &SessionOptions::default())
    }

    /// Loads a bundle. Tokenizer and graphs are loaded in parallel, as a large vocabulary takes as
    /// long as the graphs.
    pub fn open_with(path: impl AsRef<Path>, options: &SessionOptions) -> Result<Self> {
        let bundle = Bundle::open(path)?;
        let settings = ModelSettings::of(&bundle)?;
        let (tokenizer, sessions) = std::thread::scope(|scope| {
            let sessions = scope.spawn(|| session::load(&bundle, options));
            let tokenizer = Tokenizer::of(&bundle);
            (tokenizer, sessions.join().expect("loading does not panic"))
        });
        let (tokenizer, (encoder, decoder)) = (tokenizer?, sessions?);
        let bounds = Bounds::new(ROWS_TOGETHER.get(), bundle.manifest().max_source_tokens);
        Ok(Self {
            model: TextModel { bundle, tokenizer, settings },
            batcher: Batcher::new(encoder, decoder, bounds, options.threads.get()),
        })
    }

    /// Puts `prefix` before every document, instead of the prefix in the manifest.
    pub fn set_source_prefix(&mut self, prefix: &str) {
        self.model.tokenizer.set_source_prefix(prefix);
    }

    /// Sets the maximum of rows (documents times beams) that are decoded together, instead of
    /// [`ROWS_TOGETHER`]. A single document may exceed it.
    pub fn set_rows_together(&mut self, rows: NonZeroUsize) {
        let longest = self.model.bundle.manifest().max_source_tokens;
        self.batcher.bounds = Bounds::new(rows.get(), longest);
    }

    /// Summarizes documents. Each summary is the same as if the document were summarized alone.
    pub fn summarize<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
    ) -> Result<Vec<Summary>> {
        self.summarize_observed(texts, parameters, &mut ())
    }

    /// Summarizes documents. `progress` receives tokens as they become final, and can stop the
    /// work. Documents that were not begun when it stopped have no summary.
    pub fn summarize_observed<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Summary>> {
        let mut summaries: Vec<Option<Summary>> = vec![None; texts.len()];
        let mut collector = Collector { progress, summaries: &mut summaries };
        self.summarize_each(texts, parameters, &mut collector)?;
        Ok(summaries.into_iter().flatten().collect())
    }

    /// Summarizes documents, and hands each summary to `progress` as soon as it is finished. No
    /// document is begun after `progress` cancelled the work.
    pub fn summarize_each<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let config = Arc::new(self.configure(parameters)?);
        if let Some(index) = texts.iter().position(|text| text.as_ref().trim().is_empty()) {
            return Err(Error::EmptyText { index });
        }
        let mut list = List { texts, next: 0, config, progress, failed: None };
        let result = self.run(&mut list);
        result.and(list.failed.map_or(Ok(()), Err))
    }

    /// Summarizes texts until none waits. A text joins the running ones as soon as it is encoded,
    /// and leaves when it is finished. Each summary is the same as if the text were summarized
    /// alone.
    ///
    /// # Errors
    /// If a decoder step fails. Texts that were taken and have not ended are not reported.
    pub fn run(&mut self, texts: &mut dyn Texts) -> Result<()> {
        let mut documents = TextDocuments { model: &self.model, texts, begun: Vec::new() };
        self.batcher.run(&mut documents)
    }

    /// Generates for token ids until no document waits. See [`run`](Self::run).
    ///
    /// # Errors
    /// If a decoder step fails. Documents that were taken and have not ended are not reported.
    pub fn run_tokens(&mut self, documents: &mut dyn Documents) -> Result<()> {
        self.batcher.run(documents)
    }

    /// Maximum number of documents with this configuration that are decoded together.
    pub fn documents_together(&self, config: &GenerationConfig) -> usize {
        (self.batcher.bounds.rows / config.rows_per_document()).max(1)
    }

    /// Merges these parameters with the model's defaults, and checks the result.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        self.model.configure(parameters)
    }

    /// Limits and defaults that [`configure`](Self::configure) uses.
    pub fn settings(&self) -> &ModelSettings {
        &self.model.settings
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.model.bundle
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }

    /// Encoder and decoder, to run them directly.
    pub fn sessions(&mut self) -> (&mut Encoder, &mut Decoder) {
        (&mut self.batcher.encoder, &mut self.batcher.decoder)
    }
}

impl TextModel {
    /// Merges these parameters with the model's defaults, and checks the result.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        let config = self.settings.configure(parameters)?;
        if config.stop_strings().is_empty() {
            return Ok(config);
        }
        let matcher = self.tokenizer.stop_strings(config.stop_strings())?;
        Ok(config.with_stop_strings(matcher))
    }

    fn tokenize(&self, text: &str, stop: &mut dyn FnMut() -> bool) -> Result<SourceTokens> {
        let tokens = self.tokenizer.encode_until(text, stop)?;
        let shape = &self.bundle.manifest().shape;
        let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
        match tokens.ids.iter().find(|id| **id as usize >= vocab_size) {
            None => Ok(tokens),
            Some(id) => Err(Error::Tokenizer {
                path: self.bundle.path(TOKENIZER),
                problem: format!("gives token {id}, and the model has {vocab_size} tokens"),
            }),
        }
    }
}

/// A list of texts with the same parameters.
struct List<'a, T> {
    texts: &'a [T],
    /// Index of the next text.
    next: usize,
    config: Arc<GenerationConfig>,
    progress: &'a mut dyn Progress,
    /// The first error. It ends all texts.
    failed: Option<Error>,
}

impl<T: AsRef<str>> Texts for List<'_, T> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        if self.failed.is_some() || self.progress.cancelled() {
            return None;
        }
        let text = self.texts.get(self.next)?.as_ref();
        let demand = Demand::new(&self.config, tokens_of_bytes(text.len()));
        Some((self.texts.len() - self.next, demand))
    }

    fn take(&mut self) -> Option<usize> {
        self.next += 1;
        Some(self.next - 1)
    }

    fn text(&self, number: usize) -> &str {
        self.texts[number].as_ref()
    }

    fn config(&self, _: usize, _: &TextModel) -> Result<Arc<GenerationConfig>> {
        Ok(self.config.clone())
    }
}

impl<T: AsRef<str>> Observer<Result<Summary>> for List<'_, T> {
    fn cancelled(&mut self, number: usize) -> bool {
        self.failed.is_some() || self.progress.document_cancelled(number)
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        self.progress.token(number, sequence, token);
    }

    fn ended(&mut self, number: usize, result: Result<Summary>) {
        match result {
            Ok(summary) if self.failed.is_none() => self.progress.summarized(number, summary),
            Ok(_) => {}
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// Estimates the number of tokens in a text of `bytes` bytes.
pub fn tokens_of_bytes(bytes: usize) -> usize {
    bytes / 4
}

/// Converts texts to documents of tokens, and results back to summaries.
struct TextDocuments<'a> {
    model: &'a TextModel,
    texts: &'a mut dyn Texts,
    /// Number and state of each text that was taken and has not ended.
    begun: Vec<(usize, Begun)>,
}

/// A text that was taken.
struct Begun {
    config: Arc<GenerationConfig>,
    input_tokens: usize,
    truncated: bool,
    timing: Timing,
    /// When its decoding began.
    encoded: Instant,
}

impl TextDocuments<'_> {
    fn begin(&mut self, number: usize) -> Result<Task> {
        let start = Instant::now();
        let config = self.texts.config(number, self.model)?;
        // A copy, as `texts` is borrowed mutably by the closure.
        let text = self.texts.text(number).to_owned();
        let tokens = self.model.tokenize(&text, &mut || self.texts.cancelled(number))?;
        let begun = Begun {
            config: config.clone(),
            input_tokens: tokens.ids.len(),
            truncated: tokens.truncated,
            timing: Timing { tokenize: start.elapsed(), ..Timing::default() },
            encoded: Instant::now(),
        };
        self.begun.push((number, begun));
        let source = Source::new(&tokens.ids);
        Ok(Task { document: number, ids: tokens.ids, source, config })
    }

    /// Removes the text with this number.
    fn end(&mut self, number: usize) -> Option<Begun> {
        let index = self.begun.iter().position(|(begun, _)| *begun == number)?;
        Some(self.begun.swap_remove(index).1)
    }
}

impl Documents for TextDocuments<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        let (waiting, demand) = self.texts.waiting()?;
        let max_tokens = self.model.bundle.manifest().max_source_tokens;
        Some((waiting, Demand { tokens: demand.tokens.min(max_tokens), ..demand }))
    }

    fn goal(&self) -> Goal {
        self.texts.goal()
    }

    fn take(&mut self) -> Option<Task> {
        let number = self.texts.take()?;
        match self.begin(number) {
            Ok(_) if self.texts.cancelled(number) => {
                let begun = self.end(number)?;
                self.texts.ended(number, Ok(begun.summary(Vec::new(), 0, StopReason::Cancelled)));
                None
            }
            Ok(task) => Some(task),
            Err(error) => {
                self.texts.ended(number, Err(error));
                None
            }
        }
    }

    fn encoded(&mut self, number: usize, took: Duration) {
        if let Some((_, begun)) = self.begun.iter_mut().find(|(begun, _)| *begun == number) {
            begun.timing.encode = took;
            begun.encoded = Instant::now();
        }
    }
}

impl Observer<Result<Generated>> for TextDocuments<'_> {
    fn cancelled(&mut self, number: usize) -> bool {
        self.texts.cancelled(number)
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        self.texts.token(number, sequence, token);
    }

    fn ended(&mut self, number: usize, result: Result<Generated>) {
        let Some(begun) = self.end(number) else { return };
        let result = result.and_then(|generated| {
            let sequences = begun.sequences(&generated, &self.model.tokenizer)?;
            Ok(begun.summary(sequences, generated.steps, generated.stopped))
        });
        self.texts.ended(number, result);
    }
}

impl Begun {
    /// Decodes the generated sequences.
    fn sequences(&self, generated: &Generated, tokenizer: &Tokenizer) -> Result<Vec<Sequence>> {
        let sequence = |hypothesis: &Hypothesis| {
            let mut token_ids = hypothesis.token_ids.clone();
            // A beam search may find fewer sequences than requested. transformers returns padding
            // instead of the missing ones.
            if hypothesis.score.is_some() && token_ids.len() == self.config.prompt().len() {
                token_ids.push(self.config.pad());
            }
            Ok(Sequence {
                text: tokenizer.decode(&token_ids)?,
                token_ids,
                score: hypothesis.score,
                token_scores: hypothesis.token_scores.clone(),
            })
        };
        generated.sequences.iter().map(sequence).collect()
    }

    fn summary(self, sequences: Vec<Sequence>, steps: usize, stopped: StopReason) -> Summary {
        let decode = if steps == 0 { Duration::ZERO } else { self.encoded.elapsed() };
        Summary {
            sequences,
            input_tokens: self.input_tokens,
            truncated: self.truncated,
            steps,
            stopped,
            timing: Timing { decode, ..self.timing },
            read: None,
        }
    }
}

/// Keeps the summary of each document, and passes everything on to another [`Progress`].
pub(crate) struct Collector<'a> {
    pub(crate) progress: &'a mut dyn Progress,
    /// One for each document of the call.
    pub(crate) summaries: &'a mut [Option<Summary>],
}

impl Progress for Collector<'_> {
    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }

    fn document_cancelled(&mut self, document: usize) -> bool {
        self.progress.document_cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.progress.token(document, sequence, token);
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        self.summaries[document] = Some(summary.clone());
        self.progress.summarized(document, summary);
    }
}
