//! An open bundle.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use epitome::operations;
use epitome_runtime::generation::{GenerationConfig, StopReason};
use epitome_runtime::summarizer::ROWS_TOGETHER;
use epitome_runtime::{
    Length, LongOptions, Progress, Reading, SessionOptions, Summarizer, Summary,
};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use crate::errors::{Class, exception, of_runtime};
use crate::generate::{self, Array};
use crate::lock::lock;
use crate::parameters;
use crate::signals::Signals;
use crate::stream::Pieces;

/// Text, token ids, score, and scores of the tokens.
type SequenceFields = (String, Vec<u32>, Option<f32>, Option<Vec<f32>>);
/// Words of a document, words that were read, and number of parts.
type ReadFields = (usize, usize, usize);
/// Sequences, tokens of the source, whether it was truncated, decoder steps, the stop reason, and
/// what was read of a document.
type SummaryFields = (Vec<SequenceFields>, usize, bool, usize, &'static str, Option<ReadFields>);

/// An open bundle. Threads may share it: one works at a time, while Python continues.
#[pyclass(frozen, module = "epitome_onnx._epitome")]
pub(crate) struct Model {
    summarizer: Arc<Mutex<Summarizer>>,
    threads: usize,
    process: u32,
}

impl Drop for Model {
    /// A forked process has no threads that closing could wait for.
    fn drop(&mut self) {
        if std::process::id() != self.process {
            std::mem::forget(self.summarizer.clone());
        }
    }
}

impl Model {
    /// Runs `work` on the bundle while other threads of Python continue.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Summarizer) -> epitome_runtime::Result<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| work(&mut lock(&self.summarizer))).map_err(|error| of_runtime(py, &error))
    }
}

#[pymethods]
impl Model {
    /// Opens the bundle in this folder.
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        threads: Option<NonZeroUsize>,
        source_prefix: Option<&str>,
    ) -> PyResult<Self> {
        let mut options = SessionOptions::default();
        options.threads = threads.unwrap_or(options.threads);
        let opened = py.detach(|| Summarizer::open_with(path, &options));
        let mut summarizer = opened.map_err(|error| of_runtime(py, &error))?;
        if let Some(prefix) = source_prefix {
            summarizer.set_source_prefix(prefix);
        }
        Ok(Self {
            summarizer: Arc::new(summarizer.into()),
            threads: options.threads.get(),
            process: std::process::id(),
        })
    }

    /// Number of threads of an operator.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// Content of the bundle's `manifest.json`.
    fn manifest(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |summarizer| {
            let manifest = summarizer.bundle().manifest();
            Ok(serde_json::to_string(manifest).expect("plain values become JSON"))
        })
    }

    /// The model's generation defaults, as JSON.
    fn generation_config(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |summarizer| {
            let defaults = summarizer.settings().defaults();
            Ok(serde_json::to_string(defaults).expect("plain values become JSON"))
        })
    }

    /// Token ids of texts, and whether each text was truncated.
    fn encode(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<Vec<(Vec<u32>, bool)>> {
        self.with(py, |summarizer| {
            let encode = |text: &String| {
                let tokens = summarizer.tokenizer().encode(text)?;
                Ok((tokens.ids, tokens.truncated))
            };
            texts.iter().map(encode).collect()
        })
    }

    /// The text of token ids, without special tokens.
    fn decode(&self, py: Python<'_>, token_ids: Vec<u32>) -> PyResult<String> {
        self.with(py, |summarizer| summarizer.tokenizer().decode(&token_ids))
    }

    /// Checks generation parameters, and returns the token that `generate` pads rows with.
    fn fill_token_id(&self, py: Python<'_>, parameters: &Bound<'_, PyDict>) -> PyResult<i64> {
        let parameters = parameters::read(parameters)?;
        self.with(py, |summarizer| Ok(summarizer.configure(&parameters)?.fill_token_id()))
    }

    /// Summarizes texts, this many together.
    fn summarize(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        parameters: &Bound<'_, PyDict>,
        batch_size: Option<NonZeroUsize>,
    ) -> PyResult<Vec<SummaryFields>> {
        let parameters = parameters::read(parameters)?;
        let mut signals = Signals::new(py)?;
        let summaries = self.with(py, |summarizer| {
            let config = summarizer.configure(&parameters)?;
            summarizer.set_rows_together(rows_together(&config, batch_size));
            summarizer.summarize_observed(&texts, &parameters, &mut signals)
        });
        let summaries = signals.or(summaries)??;
        Ok(summaries.into_iter().map(fields).collect())
    }

    /// Summarizes the document in a file of any length.
    fn summarize_document(
        &self,
        py: Python<'_>,
        path: PathBuf,
        length: Option<&str>,
        reading: &str,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<SummaryFields> {
        let wrong = |error: String| exception(py, Class::Parameter, error);
        let length = length.map(str::parse::<Length>).transpose();
        let length = length.map_err(|error| wrong(error.to_string()))?;
        let reading = reading.parse::<Reading>().map_err(|error| wrong(error.to_string()))?;
        let parameters = parameters::read(parameters)?;
        let document = py
            .detach(|| operations::read_document(&path))
            .map_err(|failure| exception(py, Class::Document, failure))?;
        let mut following = Following { signals: Signals::new(py)?, summary: None };
        let result = self.with(py, |summarizer| {
            summarizer.set_rows_together(ROWS_TOGETHER);
            let options = LongOptions { reading, length };
            summarizer.summarize_long_each(&[document], &options, &parameters, &mut following)
        });
        following.signals.or(result)??;
        let missing = || exception(py, Class::Generation, "the document has no summary");
        following.summary.map(fields).ok_or_else(missing)
    }

    /// Pieces of the summaries of texts, as they become final.
    fn stream(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<Pieces> {
        let parameters = parameters::read(parameters)?;
        self.with(py, |summarizer| summarizer.configure(&parameters).map(drop))?;
        Pieces::start(self.summarizer.clone(), texts, parameters)
    }

    /// Generates from token ids like transformers' `generate`. Returns token ids, their number of
    /// columns, and the scores of the rows.
    fn generate<'py>(
        &self,
        py: Python<'py>,
        input_ids: Array,
        attention_mask: Option<Array>,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<(Bound<'py, PyByteArray>, usize, Vec<Option<f32>>)> {
        let parameters = parameters::read(parameters)?;
        let mut signals = Signals::new(py)?;
        let generated = py.detach(|| {
            let summarizer = &mut lock(&self.summarizer);
            let mask = attention_mask.as_ref();
            generate::generate(summarizer, &input_ids, mask, &parameters, &mut signals)
        });
        let rows = signals.or(generated)?.map_err(|fault| fault.exception(py))?;
        Ok((PyByteArray::new(py, &rows.ids), rows.columns, rows.scores))
    }
}

/// Keeps the summary of the only document, and lets Python handle signals.
struct Following {
    signals: Signals,
    summary: Option<Summary>,
}

impl Progress for Following {
    fn cancelled(&self) -> bool {
        self.signals.cancelled()
    }

    fn summarized(&mut self, _document: usize, summary: Summary) {
        self.summary = Some(summary);
    }
}

/// Number of rows to decode together: those of `batch_size` documents, or the runtime's choice.
fn rows_together(config: &GenerationConfig, batch_size: Option<NonZeroUsize>) -> NonZeroUsize {
    let rows =
        batch_size.map(|documents| documents.get().saturating_mul(config.rows_per_document()));
    rows.and_then(NonZeroUsize::new).unwrap_or(ROWS_TOGETHER)
}

fn fields(summary: Summary) -> SummaryFields {
    let sequences = summary.sequences.into_iter();
    let sequences = sequences
        .map(|sequence| (sequence.text, sequence.token_ids, sequence.score, sequence.token_scores));
    let stopped = match summary.stopped {
        StopReason::Finished => "finished",
        StopReason::MaxLength => "max_length",
        StopReason::Deadline => "max_time",
        _ => "cancelled",
    };
    let read = summary.read.map(|read| (read.words, read.words_read, read.parts));
    (sequences.collect(), summary.input_tokens, summary.truncated, summary.steps, stopped, read)
}
