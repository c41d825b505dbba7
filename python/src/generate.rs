//! Token ids to token ids, as transformers' `generate`.

use epitome_runtime::generation::{GenerateError, Generated, Source, generate as search};
use epitome_runtime::summarizer::ROWS_TOGETHER;
use epitome_runtime::{Error, GenerationParameters, Progress, Summarizer};
use pyo3::prelude::*;

use crate::errors::{Class, exception, of_runtime};

/// Rows of token ids or of a mask.
pub(crate) type Rows = Vec<Vec<i64>>;

/// Why nothing was generated.
pub(crate) enum Fault {
    /// The arrays are not what they should be.
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

impl From<GenerateError<Error>> for Fault {
    fn from(error: GenerateError<Error>) -> Self {
        Self::Runtime(error.into())
    }
}

/// A row of the input.
struct Document {
    /// As it was given, padding included: transformers' logits processors see it whole.
    row: Vec<u32>,
    /// Tokens before the padding.
    length: usize,
}

/// Generates for every row, and returns `num_return_sequences` rows for each, padded as
/// transformers pads them, with the scores of beam search.
pub(crate) fn generate(
    summarizer: &mut Summarizer,
    input_ids: &[Vec<i64>],
    attention_mask: &[Vec<i64>],
    parameters: &GenerationParameters,
    progress: &mut dyn Progress,
) -> Result<(Rows, Vec<Option<f32>>), Fault> {
    let config = summarizer.configure(parameters)?;
    let documents = documents(summarizer, input_ids, attention_mask)?;
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_key(|&index| documents[index].length);
    summarizer.set_rows_together(ROWS_TOGETHER);
    let together = summarizer.documents_together(&config);
    let mut results: Vec<Option<Generated>> = documents.iter().map(|_| None).collect();
    for batch in order.chunks(together) {
        if progress.cancelled() {
            break;
        }
        let (encoder, decoder) = summarizer.sessions();
        let mut memories = Vec::with_capacity(batch.len());
        let mut sources = Vec::with_capacity(batch.len());
        for document in batch.iter().map(|&index| &documents[index]) {
            let ids = &document.row[..document.length];
            memories.push(encoder.encode_with(ids, config.global_attention_mask())?);
            sources.push(Source::new(&document.row));
        }
        let rows = config.rows_per_document();
        let mut decoding = decoder.start(memories, rows, config.longest_history())?;
        let generated = search(&mut decoding, &sources, &config, progress)?;
        for (&index, generated) in batch.iter().zip(generated) {
            results[index] = Some(generated);
        }
    }
    Ok(padded(results.into_iter().flatten().collect(), config.fill_token_id()))
}

/// Checks the arrays.
fn documents(
    summarizer: &Summarizer,
    input_ids: &[Vec<i64>],
    mask: &[Vec<i64>],
) -> Result<Vec<Document>, Fault> {
    let shape = &summarizer.bundle().manifest().shape;
    let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
    if !input_ids.iter().map(Vec::len).eq(mask.iter().map(Vec::len)) {
        return Err(Fault::Input(
            "attention_mask has another shape than input_ids: give one of the same shape".into(),
        ));
    }
    let document = |(index, (row, mask)): (usize, (&Vec<i64>, &Vec<i64>))| {
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
    input_ids.iter().zip(mask).enumerate().map(document).collect()
}

/// All sequences as rows of one length.
fn padded(results: Vec<Generated>, fill: i64) -> (Rows, Vec<Option<f32>>) {
    let sequences = results.into_iter().flat_map(|generated| generated.sequences);
    let (mut rows, scores): (Rows, Vec<_>) = sequences
        .map(|sequence| {
            let ids = sequence.token_ids.into_iter().map(i64::from);
            (ids.collect::<Vec<_>>(), sequence.score)
        })
        .unzip();
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    rows.iter_mut().for_each(|row| row.resize(longest, fill));
    (rows, scores)
}
