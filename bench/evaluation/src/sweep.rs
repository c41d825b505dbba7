//! The sweep: every document at every setting.

use epitome_runtime::generation::Observer;
use epitome_runtime::{GenerationParameters, Summarizer, Summary, Timing};

use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::rouge::{Rouge, Scorer};
use crate::settings::Setting;

/// Follows a sweep, and may end it.
pub trait Watch {
    /// So many summaries are going to be made.
    fn start(&mut self, summaries: usize) {
        let _ = summaries;
    }
    /// One more was made.
    fn measured(&mut self) {}
    /// Whether to end with what was measured.
    fn stopped(&self) -> bool {
        false
    }
}

impl Watch for () {}

/// One summary, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Row of the document in its file.
    pub row: usize,
    /// Position of the setting in the list that was swept.
    pub setting: usize,
    /// Milliseconds to tokenize, encode, decode, and all together.
    pub milliseconds: Milliseconds,
    /// Tokens of the document that were read.
    pub input_tokens: usize,
    /// Whether the document was longer than the model takes.
    pub truncated: bool,
    /// Decoder steps.
    pub steps: usize,
    /// Tokens of the summary, the end token included.
    pub tokens: usize,
    /// Characters of the summary.
    pub characters: usize,
    /// Against the document's reference summary.
    pub rouge: Option<Rouge>,
}

/// Where the time of a summary went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Milliseconds {
    /// Text to tokens.
    pub tokenize: f64,
    /// The encoder.
    pub encode: f64,
    /// Decoder and search.
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
    /// All together.
    pub fn total(&self) -> f64 {
        self.tokenize + self.encode + self.decode
    }
}

/// What a sweep measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Each summary, in the order they were made.
    pub list: Vec<Sample>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Summarizes every document at every setting, `repeats` times.
///
/// Documents come one after another and each meets all settings in turn, starting with another one
/// each time: whatever else the machine does meanwhile falls on all settings alike, and a sweep that
/// is ended early has compared them on the same documents.
///
/// # Errors
///
/// [`Error::Runtime`] when a setting is not valid (before anything is measured) or the model fails;
/// [`Error::Interrupted`] when nothing was measured.
pub fn sweep(
    summarizer: &mut Summarizer,
    data: &Dataset,
    settings: &[Setting],
    repeats: usize,
    watch: &mut dyn Watch,
) -> Result<Samples> {
    for setting in settings {
        summarizer.configure(&setting.parameters())?;
    }
    let scorer = Scorer::default();
    let mut samples = Samples::default();
    watch.start(data.documents.len() * settings.len() * repeats);
    // The first run of a session pays for what all later ones find ready.
    if let (Some(document), Some(setting)) = (data.documents.first(), settings.first()) {
        summarize(summarizer, document, &setting.parameters(), watch)?;
    }
    let rounds = (0..repeats).flat_map(|_| &data.documents).enumerate();
    'rounds: for (round, document) in rounds {
        for turn in 0..settings.len() {
            let index = (round + turn) % settings.len();
            let parameters = settings[index].parameters();
            let Some(summary) = summarize(summarizer, document, &parameters, watch)? else {
                samples.interrupted = true;
                break 'rounds;
            };
            samples
                .list
                .push(sample(document, index, &summary, &scorer));
            watch.measured();
        }
    }
    if samples.list.is_empty() {
        return Err(Error::Interrupted);
    }
    Ok(samples)
}

/// One summary; none when the sweep was stopped meanwhile.
pub(crate) fn summarize(
    summarizer: &mut Summarizer,
    document: &Document,
    parameters: &GenerationParameters,
    watch: &mut dyn Watch,
) -> Result<Option<Summary>> {
    if watch.stopped() {
        return Ok(None);
    }
    let mut stop = Stop(watch);
    let summaries = summarizer.summarize_observed(&[&document.text], parameters, &mut stop)?;
    // A summary during which somebody pressed Ctrl-C may have been cut short.
    Ok(summaries.into_iter().next().filter(|_| !watch.stopped()))
}

/// Lets the wish to stop end a search in the middle, since one may take minutes.
struct Stop<'a>(&'a dyn Watch);

impl Observer for Stop<'_> {
    fn cancelled(&mut self, _: usize) -> bool {
        self.0.stopped()
    }
}

fn sample(document: &Document, setting: usize, summary: &Summary, scorer: &Scorer) -> Sample {
    Sample {
        row: document.row,
        setting,
        milliseconds: summary.timing.into(),
        input_tokens: summary.input_tokens,
        truncated: summary.truncated,
        steps: summary.steps,
        tokens: summary
            .sequences
            .first()
            .map_or(0, |best| best.token_ids.len().saturating_sub(1)),
        characters: summary.text().chars().count(),
        rouge: document
            .summary
            .as_deref()
            .map(|reference| scorer.score(reference, summary.text())),
    }
}
