//! The [`Summarizer`]: text in, summaries out.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::bundle::{Bundle, TOKENIZER};
use crate::error::{Error, Result};
use crate::generation::{
    Generated, GenerationConfig, GenerationParameters, Limits, Observer, Source, StopReason,
    generate,
};
use crate::session::{self, Decoder, Encoder, SessionOptions};
use crate::tokenizer::{SourceTokens, Tokenizer};

/// Rows (documents times beams) that are decoded together at most: more of them share one reading
/// of the weights, but each adds its caches to memory.
const ROWS_TOGETHER: usize = 16;

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
    /// The bundle, where it cannot verify drafts.
    without_drafts: Option<PathBuf>,
}

impl ModelSettings {
    /// The settings of an exported model.
    pub fn of(bundle: &Bundle) -> Result<Self> {
        let shape = &bundle.manifest().shape;
        Ok(Self {
            defaults: bundle.generation_config()?,
            limits: Limits {
                max_target_positions: Some(shape.max_target_positions),
                vocab_size: shape.vocab_size,
            },
            without_drafts: (!bundle.has_draft()).then(|| bundle.root().to_owned()),
        })
    }

    /// The model's defaults, under transformers' names.
    pub fn defaults(&self) -> &Map<String, Value> {
        &self.defaults
    }

    /// The settings that these parameters come to.
    pub fn configure(&self, parameters: &GenerationParameters) -> Result<GenerationConfig> {
        let config = GenerationConfig::resolve(&self.defaults, parameters, self.limits)?;
        match &self.without_drafts {
            Some(path) if config.drafts() => Err(Error::NoDraftGraph { path: path.clone() }),
            _ => Ok(config),
        }
    }
}

/// Follows the work on documents: streaming, and cancellation. Documents are numbered as in the call.
pub trait Follower {
    /// A token became final. Greedy search and sampling only: beam search decides at the end.
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let _ = (document, sequence, token);
    }

    /// A document is finished, while others may go on.
    fn finished(&mut self, document: usize, generated: &Generated, summary: Summary);

    /// Whether nobody wants this document any more; asked before each step.
    fn cancelled(&mut self, document: usize) -> bool {
        let _ = document;
        false
    }
}

/// What was made of one document.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The summaries asked for, best first: `num_return_sequences` of them.
    pub sequences: Vec<Sequence>,
    /// Tokens of the source that were read, the end token included.
    pub input_tokens: usize,
    /// Whether the source was longer than the model takes, and cut.
    pub truncated: bool,
    /// Decoder steps made.
    pub steps: usize,
    /// What ended the generation.
    pub stopped: StopReason,
    /// Where the time went.
    pub timing: Timing,
}

impl Summary {
    /// The best summary.
    pub fn text(&self) -> &str {
        self.sequences.first().map_or("", |sequence| &sequence.text)
    }
}

/// One generated sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The text, special tokens left out.
    pub text: String,
    /// Token ids as transformers' `generate` returns them: decoder start first, end token last.
    pub token_ids: Vec<u32>,
    /// transformers' `sequences_scores`; none for greedy search and sampling.
    pub score: Option<f32>,
    /// Log-probability of each generated token, where they were asked for.
    pub token_scores: Option<Vec<f32>>,
}

/// Where a document's time went. Documents decoded together share their decoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Text to tokens.
    pub tokenize: Duration,
    /// The encoder.
    pub encode: Duration,
    /// From the first decoder step to this document's last, and its tokens to text.
    pub decode: Duration,
}

impl Timing {
    /// All together.
    pub fn total(&self) -> Duration {
        self.tokenize + self.encode + self.decode
    }
}

impl Summarizer {
    /// Loads a bundle with the threads this process may use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &SessionOptions::default())
    }

    /// Loads a bundle: the tokenizer and the graphs side by side, as a large vocabulary takes as long as they do.
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
            rows_together: ROWS_TOGETHER,
        })
    }

    /// Puts `prefix` before every document, instead of what the manifest records.
    pub fn set_source_prefix(&mut self, prefix: &str) {
        self.tokenizer.set_source_prefix(prefix);
    }

    /// Decodes at most so many rows (documents times beams) together instead of 16, and never less than one document.
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

    /// Summarizes documents, followed by `observer`: tokens as they become final, and a way to stop.
    pub fn summarize_observed<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Summary>> {
        let mut summaries: Vec<Option<Summary>> = texts.iter().map(|_| None).collect();
        let mut collector = Collector {
            observer,
            summaries: &mut summaries,
        };
        self.summarize_each(texts, parameters, &mut collector)?;
        Ok(summaries.into_iter().flatten().collect())
    }

    /// Summarizes documents and hands each summary to `follower` as soon as it is finished, while
    /// other documents go on.
    pub fn summarize_each<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        parameters: &GenerationParameters,
        follower: &mut dyn Follower,
    ) -> Result<()> {
        let config = self.configure(parameters)?;
        let documents = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.tokenize(index, text.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        // Documents of like length decode together, so that none pays for another's padding.
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by_key(|&index| documents[index].tokens.ids.len());
        let together = match config.drafts() {
            // Drafts turn out right to different lengths, and documents together advance in step.
            true => 1,
            false => (self.rows_together / config.rows_per_document()).max(1),
        };
        order
            .chunks(together)
            .try_for_each(|batch| self.summarize_batch(&documents, batch, &config, follower))
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

    fn tokenize(&self, index: usize, text: &str) -> Result<Document> {
        if text.trim().is_empty() {
            return Err(Error::EmptyText { index });
        }
        let start = Instant::now();
        let tokens = self.tokenizer.encode(text)?;
        let shape = &self.bundle.manifest().shape;
        let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
        match tokens.ids.iter().find(|id| **id as usize >= vocab_size) {
            None => Ok(Document {
                tokens,
                tokenize: start.elapsed(),
            }),
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
        follower: &mut dyn Follower,
    ) -> Result<()> {
        let mut timings = Vec::with_capacity(batch.len());
        let mut memories = Vec::with_capacity(batch.len());
        for document in batch.iter().map(|&index| &documents[index]) {
            let start = Instant::now();
            memories.push(self.encoder.encode(&document.tokens.ids)?);
            timings.push(Timing {
                tokenize: document.tokenize,
                encode: start.elapsed(),
                decode: Duration::ZERO,
            });
        }
        let start = Instant::now();
        let sources: Vec<_> = batch
            .iter()
            .map(|&index| Source::new(&documents[index].tokens.ids))
            .collect();
        let mut decoding =
            self.decoder
                .start(memories, config.rows_per_document(), config.max_length())?;
        let mut observer = BatchObserver {
            follower,
            tokenizer: &self.tokenizer,
            documents,
            batch,
            start,
            timings,
            failed: None,
        };
        generate(&mut decoding, &sources, config, &mut observer)?;
        observer.failed.map_or(Ok(()), Err)
    }
}

struct Document {
    tokens: SourceTokens,
    tokenize: Duration,
}

/// Makes summaries of a batch's documents as they finish, numbered as in the whole call.
struct BatchObserver<'a> {
    follower: &'a mut dyn Follower,
    tokenizer: &'a Tokenizer,
    documents: &'a [Document],
    batch: &'a [usize],
    start: Instant,
    timings: Vec<Timing>,
    /// The first summary that could not be turned into text.
    failed: Option<Error>,
}

impl BatchObserver<'_> {
    fn summary(&self, place: usize, generated: &Generated) -> Result<Summary> {
        let document = &self.documents[self.batch[place]];
        let sequences = generated
            .sequences
            .iter()
            .map(|hypothesis| {
                Ok(Sequence {
                    text: self.tokenizer.decode(&hypothesis.token_ids)?,
                    token_ids: hypothesis.token_ids.clone(),
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
        })
    }
}

impl Observer for BatchObserver<'_> {
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.follower.token(self.batch[document], sequence, token);
    }

    fn finished(&mut self, document: usize, generated: &Generated) {
        match self.summary(document, generated) {
            Ok(summary) => {
                self.follower
                    .finished(self.batch[document], generated, summary);
            }
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    fn cancelled(&mut self, document: usize) -> bool {
        self.follower.cancelled(self.batch[document])
    }
}

/// Keeps the summaries for [`Summarizer::summarize_observed`], and lets its observer follow.
struct Collector<'a> {
    observer: &'a mut dyn Observer,
    summaries: &'a mut [Option<Summary>],
}

impl Follower for Collector<'_> {
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.observer.token(document, sequence, token);
    }

    fn finished(&mut self, document: usize, generated: &Generated, summary: Summary) {
        self.observer.finished(document, generated);
        self.summaries[document] = Some(summary);
    }

    fn cancelled(&mut self, document: usize) -> bool {
        self.observer.cancelled(document)
    }
}
