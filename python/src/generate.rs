//! Generation from token ids, like transformers' `generate`.

use std::iter::repeat;
use std::sync::Arc;

use epitome_runtime::batching::{Demand, Documents, Task};
use epitome_runtime::generation::{Generated, GenerationConfig, Hypothesis, Source};
use epitome_runtime::observer::Observer;
use epitome_runtime::summarizer::ROWS_TOGETHER;
use epitome_runtime::{Error, GenerationParameters, Progress, Summarizer};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{Class, exception, of_runtime};

/// Rows of token ids or of a mask: the bytes of a NumPy array of int64, and its number of columns.
pub(crate) type Array = (PyBackedBytes, usize);

/// Generated rows of the same length.
pub(crate) struct Rows {
    /// Bytes of a NumPy array of int64.
    pub(crate) ids: Vec<u8>,
    pub(crate) columns: usize,
    /// Score of each row, if beams were searched.
    pub(crate) scores: Vec<Option<f32>>,
}

/// Reason why nothing was generated.
pub(crate) enum Fault {
    /// The arrays are not valid.
    Input(String),
    Runtime(Error),
}

impl Fault {
    pub(crate) fn exception(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Input(message) => exception(py, Class::Text, message),
            Self::Runtime(error) => of_runtime(py, error),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Runtime(error)
    }
}

/// A row of the input.
struct Document {
    /// The row with its padding, which transformers' logits processors also see.
    row: Vec<u32>,
    /// Number of tokens before the padding.
    length: usize,
}

/// Generates for every row. Returns `num_return_sequences` rows for each, with the padding of
/// transformers. Without a mask all tokens count.
pub(crate) fn generate(
    summarizer: &mut Summarizer,
    input_ids: &Array,
    attention_mask: Option<&Array>,
    parameters: &GenerationParameters,
    progress: &mut dyn Progress,
) -> Result<Rows, Fault> {
    let config = Arc::new(summarizer.configure(parameters)?);
    let documents = documents(summarizer, input_ids, attention_mask)?;
    summarizer.set_rows_together(ROWS_TOGETHER);
    let results = documents.iter().map(|_| None).collect();
    let fill = config.fill_token_id();
    let mut list = List { documents, next: 0, config, progress, results, failed: None };
    summarizer.run_tokens(&mut list)?;
    match list.failed {
        Some(error) => Err(error.into()),
        None => Ok(padded(list.results.into_iter().flatten().collect(), fill)),
    }
}

/// The waiting rows, and their results.
struct List<'a> {
    documents: Vec<Document>,
    /// Index of the next row.
    next: usize,
    config: Arc<GenerationConfig>,
    progress: &'a mut dyn Progress,
    results: Vec<Option<Generated>>,
    failed: Option<Error>,
}

impl Documents for List<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        if self.failed.is_some() || self.progress.cancelled() {
            return None;
        }
        let document = self.documents.get(self.next)?;
        Some((self.documents.len() - self.next, Demand::new(&self.config, document.length)))
    }

    fn take(&mut self) -> Option<Task> {
        let document = &self.documents[self.next];
        self.next += 1;
        Some(Task {
            document: self.next - 1,
            ids: document.row[..document.length].to_vec(),
            source: Source::new(&document.row),
            config: self.config.clone(),
        })
    }
}

impl Observer<epitome_runtime::Result<Generated>> for List<'_> {
    fn cancelled(&mut self, document: usize) -> bool {
        self.failed.is_some() || self.progress.document_cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.progress.token(document, sequence, token);
    }

    fn ended(&mut self, document: usize, result: epitome_runtime::Result<Generated>) {
        match result {
            Ok(generated) => self.results[document] = Some(generated),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// Checks the arrays.
fn documents(
    summarizer: &Summarizer,
    input_ids: &Array,
    mask: Option<&Array>,
) -> Result<Vec<Document>, Fault> {
    let shape = &summarizer.bundle().manifest().shape;
    let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
    if mask.is_some_and(|mask| (mask.0.len(), mask.1) != (input_ids.0.len(), input_ids.1)) {
        return Err(Fault::Input(
            "attention_mask has another shape than input_ids: give one of the same shape".into(),
        ));
    }
    let mut masks = mask.map(rows);
    let document = |(index, row): (usize, Vec<i64>)| {
        let mask = masks.as_mut().and_then(Iterator::next).unwrap_or_else(|| vec![1; row.len()]);
        let length = mask.iter().take_while(|&&kept| kept != 0).count();
        if mask[length..].iter().any(|&kept| kept != 0) {
            return Err(Fault::Input(format!(
                "row {index} of attention_mask masks a token before one that counts: pad on the \
                 right"
            )));
        }
        if length == 0 {
            return Err(Fault::Input(format!("row {index} of input_ids has no token that counts")));
        }
        if length > shape.max_source_positions {
            return Err(Fault::Input(format!(
                "row {index} of input_ids has {length} tokens, and the model reads {}: truncate it",
                shape.max_source_positions
            )));
        }
        let known = |&id: &i64| u32::try_from(id).ok().filter(|&id| (id as usize) < vocab_size);
        match row.iter().map(known).collect() {
            Some(row) => Ok(Document { row, length }),
            None => Err(Fault::Input(format!(
                "row {index} of input_ids holds a token that the model does not have: its tokens \
                 are 0 to {}",
                vocab_size - 1
            ))),
        }
    };
    rows(input_ids).enumerate().map(document).collect()
}

fn rows((bytes, columns): &Array) -> impl Iterator<Item = Vec<i64>> {
    let (numbers, _) = bytes.as_chunks();
    let row = |row: &[_]| row.iter().copied().map(i64::from_ne_bytes).collect();
    numbers.chunks((*columns).max(1)).map(row)
}

/// All sequences as rows of the same length.
fn padded(results: Vec<Generated>, fill: i64) -> Rows {
    let sequences: Vec<_> = results.into_iter().flat_map(|generated| generated.sequences).collect();
    let columns = sequences.iter().map(|sequence| sequence.token_ids.len()).max().unwrap_or(0);
    let scores = sequences.iter().map(|sequence| sequence.score).collect();
    let row = |sequence: Hypothesis| {
        let ids = sequence.token_ids.into_iter().map(i64::from);
        ids.chain(repeat(fill)).take(columns)
    };
    let ids = sequences.into_iter().flat_map(row).flat_map(i64::to_ne_bytes).collect();
    Rows { ids, columns, scores }
}
