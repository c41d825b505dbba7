//! Lengths of texts and summaries in tokens, and how many of them training would truncate.

use std::path::Path;

use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::tokenizer::Pipeline;

use super::{COLUMNS, TRAIN, VALIDATION};
use crate::error::{Error, Result};
use crate::tokenizer;

/// Number of rows that are tokenized together.
const BATCH: usize = 512;

/// Options of [`measure`].
pub struct LengthOptions<'a> {
    /// Number of rows to measure, evenly spread; `None` for all.
    pub rows: Option<u64>,
    /// Maximum number of tokens of a text in training.
    pub max_source: usize,
    /// Maximum number of tokens of a summary in training.
    pub max_target: usize,
    /// Receives the progress, and can stop the work.
    pub progress: &'a dyn Progress,
}

/// The lengths of a prepared dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Number of measured rows.
    pub rows: u64,
    /// Number of all rows.
    pub of: u64,
    /// Lengths of the texts.
    pub text: Distribution,
    /// Lengths of the summaries.
    pub summary: Distribution,
}

/// Lengths in tokens, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// All lengths, in ascending order.
    sorted: Vec<u32>,
    /// Number of lengths above the maximum.
    pub truncated: u64,
}

impl Distribution {
    fn new(mut lengths: Vec<u32>, limit: usize) -> Self {
        lengths.sort_unstable();
        let within = lengths.partition_point(|&length| length as usize <= limit);
        Self { truncated: (lengths.len() - within) as u64, sorted: lengths }
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.sorted.iter().map(|&length| u64::from(length)).sum();
        sum as f64 / (self.sorted.len().max(1)) as f64
    }

    /// The length that the fraction `share` of all lengths does not exceed: 0.5 for the median, 1
    /// for the longest.
    pub fn quantile(&self, share: f64) -> u32 {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        let at = rank.clamp(1, self.sorted.len().max(1)) - 1;
        self.sorted.get(at).copied().unwrap_or(0)
    }
}

/// Measures both files of the folder `prepared` with the tokenizer of a bundle or checkpoint
/// folder, or with a `tokenizer.json`.
///
/// # Errors
///
/// The tokenizer or the files cannot be read.
pub fn measure(
    prepared: &Path,
    rows: u64,
    tokenizer: &Path,
    options: &LengthOptions<'_>,
) -> Result<Lengths> {
    let tokenizer = tokenizer::open(tokenizer)?;
    let wanted = options.rows.unwrap_or(rows).min(rows);
    let total = Total::Items(wanted);
    options.progress.start("Counting tokens", total);
    let mut meter = Meter::new(&tokenizer, options.progress);
    let mut row = 0;
    for name in [TRAIN, VALIDATION] {
        let path = prepared.join(name);
        let bad = |error: csv::Error| Error::Dataset {
            path: path.clone(),
            problem: format!("cannot be read as CSV: {error}"),
        };
        let mut reader = csv::Reader::from_path(&path).map_err(bad)?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(bad)? {
            // Selects the wanted number of rows, evenly spread.
            let is_due = (row + 1) * wanted / rows.max(1) > row * wanted / rows.max(1);
            row += 1;
            if is_due {
                meter.add(&record)?;
            }
        }
    }
    meter.measure()?;
    Ok(Lengths {
        rows: meter.text.len() as u64,
        of: row,
        text: Distribution::new(meter.text, options.max_source),
        summary: Distribution::new(meter.summary, options.max_target),
    })
}

/// Tokenizes in batches, on every core.
struct Meter<'a> {
    tokenizer: &'a Pipeline,
    progress: &'a dyn Progress,
    batch: Vec<String>,
    text: Vec<u32>,
    summary: Vec<u32>,
}

impl<'a> Meter<'a> {
    fn new(tokenizer: &'a Pipeline, progress: &'a dyn Progress) -> Self {
        Self { tokenizer, progress, batch: Vec::new(), text: Vec::new(), summary: Vec::new() }
    }

    fn add(&mut self, record: &csv::StringRecord) -> Result<()> {
        self.batch
            .extend((0..COLUMNS.len()).map(|at| record.get(at).unwrap_or_default().to_owned()));
        if self.batch.len() < BATCH * COLUMNS.len() {
            return Ok(());
        }
        self.measure()
    }

    fn measure(&mut self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let batch = std::mem::take(&mut self.batch);
        let encodings = self.tokenizer.encode_batch_fast(batch, true);
        let encodings = encodings.map_err(|error| Error::Tokenizer {
            file: "the tokenizer".into(),
            problem: format!("failed on a row: {error}"),
        })?;
        for pair in encodings.chunks_exact(COLUMNS.len()) {
            self.text.push(pair[0].len() as u32);
            self.summary.push(pair[1].len() as u32);
        }
        self.progress.advance((encodings.len() / COLUMNS.len()) as u64);
        Ok(())
    }
}
