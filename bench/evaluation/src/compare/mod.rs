//! Compares two bundles on the same documents: summaries, quality, logits and latency. The usual
//! case is a quantized bundle against the fp32 one.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use epitome_evaluation::compare::{Comparison, ComparisonRecord, compare, table};
//! use epitome_evaluation::data::Dataset;
//! use epitome_runtime::{GenerationParameters, Summarizer};
//!
//! # fn main() -> epitome_evaluation::Result<()> {
//! let mut a = Summarizer::open("models/fp32")?;
//! let mut b = Summarizer::open("models/int8")?;
//! let data = Dataset::read(Path::new("documents.csv"), Some(100))?;
//! let found: Comparison = compare(
//!     [&mut a, &mut b],
//!     &data,
//!     [&GenerationParameters::default(), &GenerationParameters::default()],
//!     &(),
//! )?;
//! let record = ComparisonRecord::new([a.bundle(), b.bundle()], &found);
//! print!("{}", table(&record));
//! # Ok(())
//! # }
//! ```

mod defaults;
mod logits;
mod record;
mod table;

use epitome_runtime::bundle::{Bundle, TOKENIZER};
use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::{GenerationParameters, Summarizer};

pub use defaults::{DefaultDifference, default_differences, shared_defaults};
pub use logits::{Difference, LogitError};
pub use record::{
    Agreement, BundleRecord, ComparisonRecord, Interval, LogitRecord, RougeDifference, RougeRecord,
};
pub use table::table;

use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::rouge::{Rouge, Scorer};
use crate::sweep::{Milliseconds, summarize};

/// One bundle's summary of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Token ids of the summary, decoder start first.
    pub token_ids: Vec<u32>,
    /// Time of each stage.
    pub milliseconds: Milliseconds,
    /// Whether the document was longer than the model reads.
    pub truncated: bool,
    /// ROUGE against the document's reference summary, if there is one.
    pub rouge: Option<Rouge>,
}

/// Both bundles' summaries of a document, A first.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The summary of each bundle.
    pub made: [Made; 2],
    /// Differences of the logits, if the bundles have the same vocabulary.
    pub logits: Option<LogitError>,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// One pair for each document, in the order of the data.
    pub pairs: Vec<Pair>,
    /// Whether the user ended the comparison early.
    pub interrupted: bool,
}

/// Summarizes every document with both bundles, each with its own parameters. Documents are
/// summarized one by one, and the bundles take turns at going first. Then both decoders run over
/// A's summary token by token, and their logits are compared, unless the bundles have different
/// vocabularies.
///
/// # Errors
///
/// [`Error::Runtime`] if the parameters are not valid for a bundle (before anything is measured) or
/// a model fails; [`Error::Interrupted`] if `progress` ended the comparison before its first
/// result.
pub fn compare(
    mut bundles: [&mut Summarizer; 2],
    data: &Dataset,
    parameters: [&GenerationParameters; 2],
    progress: &dyn Progress,
) -> Result<Comparison> {
    for (bundle, parameters) in bundles.iter().zip(parameters) {
        bundle.configure(parameters)?;
    }
    let with_logits = same_vocabulary(bundles[0].bundle(), bundles[1].bundle());
    let scorer = Scorer::default();
    let mut found = Comparison::default();
    progress.start("Comparing", Total::Items(data.documents.len() as u64));
    // The first run of a session initializes buffers, so it is not measured.
    if let Some(document) = data.documents.first() {
        for (bundle, parameters) in bundles.iter_mut().zip(parameters) {
            summarize(bundle, document, parameters, progress)?;
        }
    }
    for (turn, document) in data.documents.iter().enumerate() {
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut made = [None, None];
        for index in order {
            made[index] = make(bundles[index], document, parameters[index], &scorer, progress)?;
        }
        let ([Some(a), Some(b)], [first, second]) = (made, &mut bundles) else {
            found.interrupted = true;
            break;
        };
        let logits = if with_logits {
            let bundles = [&mut **first, &mut **second];
            logits::along(bundles, &document.text, parameters, &a.token_ids)?
        } else {
            None
        };
        found.pairs.push(Pair { made: [a, b], logits });
        progress.advance(1);
    }
    if found.pairs.is_empty() {
        return Err(Error::Interrupted);
    }
    Ok(found)
}

/// Whether token ids and logits of both bundles can be compared: they need the same tokenizer and
/// the same number of logits.
pub(crate) fn same_vocabulary(a: &Bundle, b: &Bundle) -> bool {
    let of = |bundle: &Bundle| {
        let manifest = bundle.manifest();
        let tokenizer = manifest.files.get(TOKENIZER);
        tokenizer.map(|file| (file.sha256.clone(), manifest.shape.vocab_size))
    };
    of(a) == of(b)
}

/// Makes one summary; `None` if the comparison was stopped meanwhile.
fn make(
    summarizer: &mut Summarizer,
    document: &Document,
    parameters: &GenerationParameters,
    scorer: &Scorer,
    progress: &dyn Progress,
) -> Result<Option<Made>> {
    let Some(summary) = summarize(summarizer, document, parameters, progress)? else {
        return Ok(None);
    };
    let rouge =
        document.summary.as_deref().map(|reference| scorer.score(reference, summary.text()));
    Ok(Some(Made {
        milliseconds: summary.timing.into(),
        truncated: summary.truncated,
        rouge,
        token_ids: summary
            .sequences
            .into_iter()
            .next()
            .map_or_else(Vec::new, |best| best.token_ids),
    }))
}
