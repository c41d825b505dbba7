//! Two bundles on the same documents: how far apart their summaries, their quality and their logits
//! are. What a quantized bundle loses against the one it was made from, above all.
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
//!     &GenerationParameters::default(),
//!     &mut (),
//! )?;
//! let record = ComparisonRecord::new([a.bundle(), b.bundle()], &found);
//! print!("{}", table(&record));
//! # Ok(())
//! # }
//! ```

mod logits;
mod record;
mod table;

use epitome_runtime::bundle::{Bundle, TOKENIZER};
use epitome_runtime::{GenerationParameters, Summarizer};

pub use logits::{Difference, LogitError};
pub use record::{
    Agreement, BundleRecord, ComparisonRecord, Interval, LogitRecord, RougeDifference, RougeRecord,
};
pub use table::table;

use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::rouge::{Rouge, Scorer};
use crate::sweep::{Milliseconds, Watch, summarize};

/// What one bundle made of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Token ids of the summary, decoder start first.
    pub token_ids: Vec<u32>,
    /// Where the time went.
    pub milliseconds: Milliseconds,
    /// Whether the document was longer than the model takes.
    pub truncated: bool,
    /// Against the document's reference summary.
    pub rouge: Option<Rouge>,
}

/// What both bundles made of a document, A first.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What each made.
    pub made: [Made; 2],
    /// How far their logits are apart, where they have one vocabulary.
    pub logits: Option<LogitError>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Each document, in the order of the data.
    pub pairs: Vec<Pair>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Summarizes every document alone with both bundles, which take turns at going first, and runs
/// both over A's summary, token by token, to see how far their logits are apart.
///
/// Token ids and logits mean the same only where both bundles have one vocabulary
/// ([`same_vocabulary`]); elsewhere logits are left out.
///
/// # Errors
///
/// [`Error::Runtime`] when the parameters are not valid for a bundle (before anything is measured) or
/// a model fails; [`Error::Interrupted`] when nothing was compared before `watch` ended it.
pub fn compare(
    mut bundles: [&mut Summarizer; 2],
    data: &Dataset,
    parameters: &GenerationParameters,
    watch: &mut dyn Watch,
) -> Result<Comparison> {
    for bundle in &bundles {
        bundle.configure(parameters)?;
    }
    let with_logits = same_vocabulary(bundles[0].bundle(), bundles[1].bundle());
    let scorer = Scorer::default();
    let mut found = Comparison::default();
    watch.start(data.documents.len());
    // The first run of a session pays for what all later ones find ready.
    if let Some(document) = data.documents.first() {
        for bundle in &mut bundles {
            summarize(bundle, document, parameters, watch)?;
        }
    }
    for (turn, document) in data.documents.iter().enumerate() {
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut made = [None, None];
        for index in order {
            made[index] = make(bundles[index], document, parameters, &scorer, watch)?;
        }
        let ([Some(a), Some(b)], [first, second]) = (made, &mut bundles) else {
            found.interrupted = true;
            break;
        };
        let logits = if with_logits {
            logits::along([&mut **first, &mut **second], &document.text, &a.token_ids)?
        } else {
            None
        };
        found.pairs.push(Pair {
            made: [a, b],
            logits,
        });
        watch.measured();
    }
    if found.pairs.is_empty() {
        return Err(Error::Interrupted);
    }
    Ok(found)
}

/// Whether a token id, and so a logit, stands for the same in both bundles: they have the same
/// tokenizer, and score as many tokens.
pub fn same_vocabulary(a: &Bundle, b: &Bundle) -> bool {
    let of = |bundle: &Bundle| {
        let manifest = bundle.manifest();
        let tokenizer = manifest.files.get(TOKENIZER);
        tokenizer.map(|file| (file.sha256.clone(), manifest.shape.vocab_size))
    };
    of(a) == of(b)
}

/// One summary; none when the comparison was stopped meanwhile.
fn make(
    summarizer: &mut Summarizer,
    document: &Document,
    parameters: &GenerationParameters,
    scorer: &Scorer,
    watch: &mut dyn Watch,
) -> Result<Option<Made>> {
    let Some(summary) = summarize(summarizer, document, parameters, watch)? else {
        return Ok(None);
    };
    let rouge = document
        .summary
        .as_deref()
        .map(|reference| scorer.score(reference, summary.text()));
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
