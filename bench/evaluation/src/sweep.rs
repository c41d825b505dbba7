//! The sweep: summarizes every document at every setting.

use epitome_runtime::progress::{Cancelled, Progress, Total};
use epitome_runtime::{GenerationParameters, Summarizer, Summary, Timing};
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::rouge::{Rouge, Scorer};
use crate::settings::Setting;

/// Measurements of one summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Row of the document in its file.
    pub row: usize,
    /// Position of the setting in the list that was swept.
    pub setting: usize,
    /// Time of each stage.
    pub milliseconds: Milliseconds,
    /// Number of the document's tokens that the model read.
    pub input_tokens: usize,
    /// Whether the document was longer than the model's window.
    pub truncated: bool,
    /// Number of decoder steps.
    pub steps: usize,
    /// Number of tokens of the summary, including the end token.
    pub tokens: usize,
    /// The summary.
    pub summary: String,
    /// ROUGE against the document's reference summary, if there is one.
    pub rouge: Option<Rouge>,
}

/// Milliseconds of each stage of a summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Milliseconds {
    /// Time of the tokenizer.
    pub tokenize: f64,
    /// Time of the encoder.
    pub encode: f64,
    /// Time of decoder and search.
    pub decode: f64,
}

impl From<Timing> for Milliseconds {
    fn from(timing: Timing) -> Self {
        let milliseconds = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
        Self {
            tokenize: milliseconds(timing.tokenize),
            encode: milliseconds(timing.encode),
            decode: milliseconds(timing.decode),
        }
    }
}

impl Milliseconds {
    /// The sum of all stages.
    pub fn total(&self) -> f64 {
        self.tokenize + self.encode + self.decode
    }
}

/// A summary and its figures, from this process or another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) milliseconds: Milliseconds,
    pub(crate) input_tokens: usize,
    pub(crate) truncated: bool,
    pub(crate) steps: usize,
    pub(crate) tokens: usize,
    pub(crate) summary: String,
}

impl From<&Summary> for Made {
    fn from(summary: &Summary) -> Self {
        let best = summary.sequences.first();
        Self {
            milliseconds: summary.timing.into(),
            input_tokens: summary.input_tokens,
            truncated: summary.truncated,
            steps: summary.steps,
            tokens: best.map_or(0, |best| best.token_ids.len().saturating_sub(1)),
            summary: summary.text().to_owned(),
        }
    }
}

/// The samples of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// A sample for each summary, in the order they were made.
    pub list: Vec<Sample>,
    /// Whether the user ended the sweep early.
    pub interrupted: bool,
}

/// Summarizes every document at every setting, `repeats` times.
///
/// Each document meets all settings in turn, starting with another one each time. Other programs on
/// the machine then slow all settings alike, and a sweep that is ended early has compared all
/// settings on the same documents.
///
/// # Errors
///
/// [`Error::Runtime`] if a setting is not valid (before anything is measured) or the model fails;
/// [`Error::Interrupted`] if `progress` ended the sweep before its first sample.
pub fn sweep(
    summarizer: &mut Summarizer,
    data: &Dataset,
    settings: &[Setting],
    repeats: usize,
    progress: &dyn Progress,
) -> Result<Samples> {
    for setting in settings {
        summarizer.configure(&setting.parameters())?;
    }
    let scorer = Scorer::default();
    let mut samples = Samples::default();
    let count = data.documents.len() * settings.len() * repeats;
    progress.start("Summarizing", Total::Items(count as u64));
    // The first run of a session initializes buffers, so it is not measured.
    if let (Some(document), Some(setting)) = (data.documents.first(), settings.first()) {
        summarize(summarizer, document, &setting.parameters(), progress)?;
    }
    let rounds = (0..repeats).flat_map(|_| &data.documents).enumerate();
    'rounds: for (round, document) in rounds {
        for turn in 0..settings.len() {
            let index = (round + turn) % settings.len();
            let parameters = settings[index].parameters();
            let Some(summary) = summarize(summarizer, document, &parameters, progress)? else {
                samples.interrupted = true;
                break 'rounds;
            };
            samples.list.push(Sample::of(document, index, Made::from(&summary), &scorer));
            progress.advance(1);
        }
    }
    if samples.list.is_empty() {
        return Err(Error::Interrupted);
    }
    Ok(samples)
}

/// Makes one summary; `None` if the sweep was stopped meanwhile.
pub(crate) fn summarize(
    summarizer: &mut Summarizer,
    document: &Document,
    parameters: &GenerationParameters,
    progress: &dyn Progress,
) -> Result<Option<Summary>> {
    if progress.cancelled() {
        return Ok(None);
    }
    // A search may take minutes, so it must be stopped in the middle.
    let mut stop = Cancelled(progress);
    let summaries = summarizer.summarize_observed(&[&document.text], parameters, &mut stop)?;
    // A summary may be incomplete if the sweep was stopped meanwhile.
    Ok(summaries.into_iter().next().filter(|_| !progress.cancelled()))
}

impl Sample {
    /// The figures of a summary of this document at the setting with this position.
    pub(crate) fn of(document: &Document, setting: usize, made: Made, scorer: &Scorer) -> Self {
        let reference = document.summary.as_deref();
        Self {
            row: document.row,
            setting,
            milliseconds: made.milliseconds,
            input_tokens: made.input_tokens,
            truncated: made.truncated,
            steps: made.steps,
            tokens: made.tokens,
            rouge: reference.map(|reference| scorer.score(reference, &made.summary)),
            summary: made.summary,
        }
    }
}
