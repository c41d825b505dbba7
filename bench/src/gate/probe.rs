//! The work that the gate measures.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use epitome_evaluation::data::Dataset;
use epitome_runtime::{GenerationParameters, SessionOptions, Summarizer};
use serde::{Deserialize, Serialize};

use crate::fixtures::held_out;
use crate::mock_logits::{MockSearch, plain_search, processed_search};

/// Repetitions of the work, so that a count does not depend on one run.
const REPEATS: usize = 20;
/// Number of texts to tokenize.
const TEXTS: usize = 4;
/// Number of steps of a search.
const SEARCH_STEPS: usize = 2;
/// Number of decoder steps.
const DECODER_STEPS: usize = 2;
/// Number of beams of a decoder step.
const BEAMS: usize = 4;
/// Number of source tokens.
const SOURCE: usize = 64;

/// Work whose cost is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Beam search over mock logits.
    SearchLoop,
    /// Beam search over mock logits with the logits processors of summarization.
    Processors,
    /// Tokenizing of documents.
    Tokenizer,
    /// The encoder of the trained model.
    Encoder,
    /// Decoder steps of the trained model, with 4 beams.
    DecoderStep,
}

impl Probe {
    /// All probes.
    pub const ALL: [Self; 5] =
        [Self::SearchLoop, Self::Processors, Self::Tokenizer, Self::Encoder, Self::DecoderStep];

    /// Prepares the work on this bundle, runs it once unmeasured, then passes it to `measure`. The
    /// first run of a session initializes buffers that later runs reuse.
    ///
    /// # Errors
    ///
    /// When the bundle cannot be loaded, or the model fails.
    pub fn run(
        self,
        bundle: &Path,
        measure: &mut dyn FnMut(&mut Work<'_>) -> Result<()>,
    ) -> Result<()> {
        // Uses one thread: the division of work between several differs from run to run.
        let options = SessionOptions { threads: NonZeroUsize::MIN, ..Default::default() };
        let open = || Summarizer::open_with(bundle, &options);
        match self {
            Self::SearchLoop => search(&plain_search(SEARCH_STEPS), measure),
            Self::Processors => search(&processed_search(SEARCH_STEPS), measure),
            Self::Tokenizer => {
                let summarizer = open()?;
                let data = Dataset::read(&held_out(), Some(TEXTS))?;
                let mut work = || {
                    for document in data.documents.iter().cycle().take(REPEATS * TEXTS) {
                        summarizer.tokenizer().encode(&document.text)?;
                    }
                    Ok(())
                };
                work()?;
                measure(&mut work)
            }
            Self::Encoder => {
                let mut summarizer = open()?;
                let (encoder, _) = summarizer.sessions();
                let source = source();
                let mut work = || {
                    for _ in 0..REPEATS {
                        encoder.encode(&source)?;
                    }
                    Ok(())
                };
                work()?;
                measure(&mut work)
            }
            Self::DecoderStep => {
                let mut summarizer = open()?;
                let (encoder, decoder) = summarizer.sessions();
                let steps = REPEATS * DECODER_STEPS;
                let tokens = [111; BEAMS];
                let parents: [u32; BEAMS] = std::array::from_fn(|beam| beam as u32);
                let mut decode = |measure: &mut dyn FnMut(&mut Work<'_>) -> Result<()>| {
                    let memory = encoder.encode(&source())?;
                    let mut decoding = decoder.start_with(vec![memory], BEAMS)?;
                    measure(&mut || {
                        for _ in 0..steps {
                            decoding.step_all(&tokens, &parents)?;
                        }
                        Ok(())
                    })
                };
                decode(&mut |work| work())?;
                decode(measure)
            }
        }
    }
}

/// The work of a prepared probe.
pub type Work<'a> = dyn FnMut() -> Result<()> + 'a;

fn search(
    parameters: &GenerationParameters,
    measure: &mut dyn FnMut(&mut Work<'_>) -> Result<()>,
) -> Result<()> {
    let mut search = MockSearch::new(parameters);
    search.run();
    search.restore();
    measure(&mut || {
        for _ in 0..REPEATS {
            search.run();
        }
        Ok(())
    })
}

fn source() -> Vec<u32> {
    (0..SOURCE as u32).map(|token| 110 + token % 90).collect()
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SearchLoop => "search-loop",
            Self::Processors => "processors",
            Self::Tokenizer => "tokenizer",
            Self::Encoder => "encoder",
            Self::DecoderStep => "decoder-step",
        })
    }
}

impl FromStr for Probe {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|name| name.to_string() == text);
        known.ok_or_else(|| anyhow!("there is no probe '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_text() {
        for probe in Probe::ALL {
            assert_eq!(probe.to_string().parse::<Probe>().expect("known"), probe);
        }
        assert!("decoder".parse::<Probe>().is_err());
    }

    #[test]
    fn a_probe_hands_over_its_work_once() {
        let mut runs = 0;
        let measure = &mut |work: &mut Work<'_>| {
            runs += 1;
            work()
        };
        let unused = Path::new("unused");
        Probe::SearchLoop.run(unused, measure).expect("a search");
        assert_eq!(runs, 1);
    }
}
