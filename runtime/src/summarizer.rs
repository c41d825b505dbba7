//! The [`Summarizer`]: text in, summaries out.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::bundle::{Bundle, TOKENIZER};
use crate::error::{Error, Result};
use crate::generation::{
    Generated, GenerationConfig, GenerationParameters, Limits, Source, StopReason, generate,
};
use crate::progress::Progress;
use crate::session::{self, Decoder, Encoder, SessionOptions};
use crate::summary::{Sequence, Summary, Timing};
use crate::tokenizer::{SourceTokens, Tokenizer};

/// Rows (documents times beams) that are decoded together at most: more of them share one reading
/// of the weights, but each adds its caches to memory.
pub const ROWS_TOGETHER: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// A bundle, loaded and ready.
pub struct Summarizer {
    bundle: Bundle,
    tokenizer: Tokenizer,
    encoder: Encoder,
    decoder: Decoder,
    settings: ModelSettings,
    rows_together: usize,
}

/// What generation parameters are checked against: a model's limits and its defaults.
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

    /// The settings that these parameters come to.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        Ok(GenerationConfig::resolve(&self.defaults, parameters, self.limits)?)
    }
}

impl Summarizer {
    /// Loads a bundle with the threads this process may use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &SessionOptions::default())
    }

    /// Loads a bundle: the tokenizer and the graphs side by side, as a large vocabulary takes as
    /// long as they do.
    pub fn open_with(path: impl AsRef<Path>, options: &SessionOptions) -> Result<Self> {
        let bundle = Bundle::open(path)?;
        let settings = ModelSettings::of(&bundle)?;
        let (tokenizer, sessions) = std::thread::scope(|scope| {
            let sessions = scope.spawn(|| session::load(&bundle, options));
            let tokenizer = Tokenizer::of(&bundle);
            (tokenizer, sessions.join().expect("loading does not panic"))
        });
        let (tokenizer, (encoder, decoder)) = (tokenizer?, sessions?);
        Ok(Self {
            bundle,
            tokenizer,
            encoder,
            decoder,
            settings,
            rows_together: ROWS_TOGETHER.get(),
        })
    }

    /// Puts `prefix` before every document, instead of what the manifest records.
    pub fn set_source_prefix(&mut self, prefix: &str) {
        self.tokenizer.set_source_prefix(prefix);
    }

    /// Decodes at most so many rows (documents times beams) together instead of [`ROWS_TOGETHER`],
    /// and never less than one document.
    pub fn set_rows_together(&mut self, rows: NonZeroUsize) {
        self.rows_together = rows.get();
    }

    /// Summarizes documents. Each gets exactly what it would get alone.
    pub fn summarize<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
    ) -> Result<Vec<Summary>> {
        self.summarize_observed(texts, parameters, &mut ())
    }

    /// Summarizes documents, followed by `progress`: tokens as they become final, and a way to
    /// stop. Documents that were not begun when it stopped have no summary.
    pub fn summarize_observed<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Summary>> {
        let mut summaries: Vec<Option<Summary>> = texts.iter().map(|_| None).collect();
        let mut collector = Collector { progress, summaries: &mut summaries };
        self.summarize_each(texts, parameters, &mut collector)?;
        Ok(summaries.into_iter().flatten().collect())
    }

    /// Summarizes documents and hands each summary to `progress` as soon as it is finished, while
    /// other documents go on. None is begun after `progress` says that all is cancelled.
    pub fn summarize_each<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let config = self.configure(parameters)?;
        let documents = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let mut stop = || progress.document_cancelled(index);
                self.tokenize(index, text.as_ref(), &mut stop)
            })
            .collect::<Result<Vec<_>>>()?;
        // Documents of like length decode together, so that none pays for another's padding.
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by_key(|&index| documents[index].tokens.ids.len());
        for batch in order.chunks(self.documents_together(&config)) {
            if progress.cancelled() {
                break;
            }
            self.summarize_batch(&documents, batch, &config, progress)?;
        }
        Ok(())
    }

    /// How many documents are decoded together.
    pub fn documents_together(&self, config: &GenerationConfig) -> usize {
        match config.drafts() {
            // Drafts turn out right to different lengths, and documents together advance in step.
            true => 1,
            false => (self.rows_together / config.rows_per_document()).max(1),
        }
    }

    /// The settings that these parameters come to with this model's defaults.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        let config = self.settings.configure(parameters)?;
        if config.stop_strings().is_empty() {
            return Ok(config);
        }
        let matcher = self.tokenizer.stop_strings(config.stop_strings())?;
        Ok(config.with_stop_strings(matcher))
    }

    /// What [`configure`](Self::configure) goes by, for those who check parameters elsewhere.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Encoder and decoder, for those who drive them by hand.
    pub fn sessions(&mut self) -> (&mut Encoder, &mut Decoder) {
        (&mut self.encoder, &mut self.decoder)
    }

    fn tokenize(
        &self,
        index: usize,
        text: &str,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Document> {
        if text.trim().is_empty() {
            return Err(Error::EmptyText { index });
        }
        let start = Instant::now();
        let tokens = self.tokenizer.encode_until(text, stop)?;
        let shape = &self.bundle.manifest().shape;
        let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
        match tokens.ids.iter().find(|id| **id as usize >= vocab_size) {
            None => Ok(Document { tokens, tokenize: start.elapsed() }),
            Some(id) => Err(Error::Tokenizer {
                path: self.bundle.path(TOKENIZER),
                problem: format!("gives token {id}, and the model has {vocab_size} tokens"),
            }),
        }
    }

    fn summarize_batch(
        &mut self,
        documents: &[Document],
        batch: &[usize],
        config: &GenerationConfig,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let mut timings = Vec::with_capacity(batch.len());
        let mut memories = Vec::with_capacity(batch.len());
        let mut wanted = Vec::with_capacity(batch.len());
        for &index in batch {
            let document = &documents[index];
            if progress.document_cancelled(index) {
                progress.summarized(index, document.cancelled());
                continue;
            }
            let start = Instant::now();
            let ids = &document.tokens.ids;
            memories.push(self.encoder.encode_with(ids, config.global_attention_mask())?);
            wanted.push(index);
            timings.push(Timing {
                tokenize: document.tokenize,
                encode: start.elapsed(),
                decode: Duration::ZERO,
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let batch = wanted.as_slice();
        let start = Instant::now();
        let sources: Vec<_> =
            batch.iter().map(|&index| Source::new(&documents[index].tokens.ids)).collect();
        let mut decoding =
            self.decoder.start(memories, config.rows_per_document(), config.longest_history())?;
        let mut progress = BatchProgress {
            config,
            progress,
            tokenizer: &self.tokenizer,
            documents,
            batch,
            start,
            timings,
            failed: None,
        };
        generate(&mut decoding, &sources, config, &mut progress)?;
        progress.failed.map_or(Ok(()), Err)
    }
}

struct Document {
    tokens: SourceTokens,
    tokenize: Duration,
}

impl Document {
    /// The summary of a document that nobody waited for before it was read.
    fn cancelled(&self) -> Summary {
        Summary {
            sequences: Vec::new(),
            input_tokens: self.tokens.ids.len(),
            truncated: self.tokens.truncated,
            steps: 0,
            stopped: StopReason::Cancelled,
            timing: Timing { tokenize: self.tokenize, ..Timing::default() },
            read: None,
        }
    }
}

/// Makes summaries of a batch's documents as they finish, numbered as in the whole call.
struct BatchProgress<'a> {
    config: &'a GenerationConfig,
    progress: &'a mut dyn Progress,
    tokenizer: &'a Tokenizer,
    documents: &'a [Document],
    batch: &'a [usize],
    start: Instant,
    timings: Vec<Timing>,
    /// The first summary that could not be turned into text.
    failed: Option<Error>,
}

impl BatchProgress<'_> {
    fn summary(&self, place: usize, generated: &Generated) -> Result<Summary> {
        let document = &self.documents[self.batch[place]];
        let sequences = generated
            .sequences
            .iter()
            .map(|hypothesis| {
                let mut token_ids = hypothesis.token_ids.clone();
                // A beam search may find fewer sequences than were asked for. transformers returns
                // padding in the place of the others.
                if hypothesis.score.is_some() && token_ids.len() == self.config.prompt().len() {
                    token_ids.push(self.config.pad());
                }
                Ok(Sequence {
                    text: self.tokenizer.decode(&token_ids)?,
                    token_ids,
                    score: hypothesis.score,
                    token_scores: hypothesis.token_scores.clone(),
                })
            })
            .collect::<Result<_>>()?;
        let mut timing = self.timings[place];
        timing.decode = self.start.elapsed();
        Ok(Summary {
            sequences,
            input_tokens: document.tokens.ids.len(),
            truncated: document.tokens.truncated,
            steps: generated.steps,
            stopped: generated.stopped,
            timing,
            read: None,
        })
    }
}

impl Progress for BatchProgress<'_> {
    fn document_cancelled(&mut self, document: usize) -> bool {
        self.progress.document_cancelled(self.batch[document])
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.progress.token(self.batch[document], sequence, token);
    }

    fn generated(&mut self, document: usize, generated: &Generated) {
        self.progress.generated(self.batch[document], generated);
        match self.summary(document, generated) {
            Ok(summary) => self.progress.summarized(self.batch[document], summary),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// Keeps the summaries for [`Summarizer::summarize_observed`], and passes everything else on.
struct Collector<'a> {
    progress: &'a mut dyn Progress,
    summaries: &'a mut [Option<Summary>],
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

    fn generated(&mut self, document: usize, generated: &Generated) {
        self.progress.generated(document, generated);
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        self.summaries[document] = Some(summary);
    }
}
