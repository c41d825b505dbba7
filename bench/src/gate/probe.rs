//! The work that the gate measures.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use epitome_runtime::generation::StepModel;
use epitome_runtime::{SessionOptions, Summarizer};
use serde::{Deserialize, Serialize};

use super::calibration::Kind;
use crate::canned::{CannedSearch, plain_search, processed_search};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::held_out;

/// Equal pieces that a probe's work consists of. A slowdown of 5% is planted as one piece more: real
/// work of the probe's own, wherever it spends its time.
const PIECES: usize = 20;
/// Texts that are tokenized in one piece.
const TEXTS: usize = 4;
/// Steps of a search, in one piece.
const SEARCH_STEPS: usize = 2;
/// Decoder steps in one piece.
const DECODER_STEPS: usize = 2;
/// Beams of a decoder step.
const BEAMS: usize = 4;
/// Tokens of the source.
const SOURCE: usize = 64;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Beam search over canned logits.
    SearchLoop,
    /// The same with the logits processors of summarization.
    Processors,
    /// Documents to tokens.
    Tokenizer,
    /// The encoder of the trained model.
    Encoder,
    /// Decoder steps of the trained model, with 4 beams.
    DecoderStep,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SearchLoop,
        Self::Processors,
        Self::Tokenizer,
        Self::Encoder,
        Self::DecoderStep,
    ];

    /// The slowdown in time that is worth finding. A model's share of the machine's memory varies more than
    /// what stays in the caches.
    pub fn worth_finding(self) -> f64 {
        match self {
            Self::SearchLoop | Self::Processors | Self::Tokenizer => 0.05,
            Self::Encoder | Self::DecoderStep => 0.10,
        }
    }

    /// The load that it is compared with.
    pub fn calibration(self) -> Kind {
        match self {
            Self::SearchLoop | Self::Processors | Self::Tokenizer => Kind::Rows,
            Self::Encoder | Self::DecoderStep => Kind::Matrix,
        }
    }
}

impl fmt::Display for Name {
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

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|name| name.to_string() == text);
        known.ok_or_else(|| Error::Settings(format!("there is no probe '{text}'")))
    }
}

/// A slowdown that is put into a probe, to see whether the gate finds it. Written `name=percent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plant {
    /// The probe.
    pub probe: Name,
    /// By how many percent its work grows, in steps of 5.
    pub percent: f64,
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.probe, self.percent)
    }
}

impl FromStr for Plant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let parsed = parts.and_then(|(probe, percent)| Some((probe, percent.parse().ok()?)));
        let (probe, percent) =
            parsed.ok_or_else(|| Error::Settings(format!("'{text}' is not PROBE=PERCENT")))?;
        Ok(Self {
            probe: probe.parse()?,
            percent,
        })
    }
}

/// A probe, ready to run.
pub struct Probe {
    work: Work,
    pieces: usize,
}

enum Work {
    Search(Box<CannedSearch>),
    Tokenizer(Box<Summarizer>, Vec<String>),
    Encoder(Box<Summarizer>),
    Decoder(Box<Summarizer>),
}

impl Probe {
    /// Prepares a probe on this bundle.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`] when the bundle cannot be loaded.
    pub fn new(name: Name, bundle: &Path, plants: &[Plant]) -> Result<Self> {
        // One thread: how a machine shares out several is its own affair.
        let options = SessionOptions {
            threads: std::num::NonZeroUsize::MIN,
            ..Default::default()
        };
        let open = || Summarizer::open_with(bundle, &options).map(Box::new);
        let work = match name {
            Name::SearchLoop => {
                Work::Search(Box::new(CannedSearch::new(&plain_search(SEARCH_STEPS))))
            }
            Name::Processors => {
                Work::Search(Box::new(CannedSearch::new(&processed_search(SEARCH_STEPS))))
            }
            Name::Tokenizer => {
                let data = Dataset::read(&held_out(), Some(TEXTS))?;
                let texts = data.documents.into_iter().map(|document| document.text);
                Work::Tokenizer(open()?, texts.collect())
            }
            Name::Encoder => Work::Encoder(open()?),
            Name::DecoderStep => Work::Decoder(open()?),
        };
        let own = plants.iter().filter(|plant| plant.probe == name);
        let planted: f64 = own.map(|plant| plant.percent).sum();
        let extra = (PIECES as f64 * planted / 100.0).round() as usize;
        Ok(Self {
            work,
            pieces: PIECES + extra,
        })
    }

    /// Does the work once, a piece at a time; what prepares the pieces is not measured.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`] when the model fails.
    pub fn run(&mut self, meter: &mut dyn Meter) -> Result<()> {
        match &mut self.work {
            Work::Search(search) => {
                search.refresh();
                let mut piece = || {
                    search.run();
                    Ok(())
                };
                repeat(self.pieces, &mut piece, meter)
            }
            Work::Tokenizer(summarizer, texts) => {
                let mut piece = || {
                    for text in texts.iter() {
                        summarizer.tokenizer().encode(text)?;
                    }
                    Ok(())
                };
                repeat(self.pieces, &mut piece, meter)
            }
            Work::Encoder(summarizer) => {
                let (encoder, _) = summarizer.sessions();
                let source = source();
                let mut piece = || encoder.encode(&source).map(|_| ());
                repeat(self.pieces, &mut piece, meter)
            }
            Work::Decoder(summarizer) => {
                let (encoder, decoder) = summarizer.sessions();
                let memory = encoder.encode(&source())?;
                let mut decoding =
                    decoder.start(vec![memory], BEAMS, self.pieces * DECODER_STEPS)?;
                let tokens = [111; BEAMS];
                let parents: [u32; BEAMS] = std::array::from_fn(|beam| beam as u32);
                let mut piece = || {
                    for _ in 0..DECODER_STEPS {
                        decoding.step(&tokens, &parents)?;
                    }
                    Ok(())
                };
                repeat(self.pieces, &mut piece, meter)
            }
        }
    }
}

/// A piece of work.
pub type Piece<'a> = dyn FnMut() -> epitome_runtime::Result<()> + 'a;

/// Measures pieces of work.
pub trait Meter {
    /// Does a piece of work, and measures it.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`] when the model fails.
    fn piece(&mut self, piece: &mut Piece<'_>) -> Result<()>;
}

fn repeat(pieces: usize, piece: &mut Piece<'_>, meter: &mut dyn Meter) -> Result<()> {
    (0..pieces).try_for_each(|_| meter.piece(piece))
}

fn source() -> Vec<u32> {
    (0..SOURCE as u32).map(|token| 110 + token % 90).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_plants_survive_text() {
        for name in Name::ALL {
            assert_eq!(name.to_string().parse::<Name>().expect("known"), name);
        }
        let plant: Plant = "decoder-step=10".parse().expect("a plant");
        assert_eq!(
            plant,
            Plant {
                probe: Name::DecoderStep,
                percent: 10.0
            }
        );
        assert_eq!(plant.to_string(), "decoder-step=10");
        assert!("decoder=10".parse::<Plant>().is_err() && "encoder".parse::<Plant>().is_err());
    }

    #[test]
    fn a_plant_makes_just_that_much_more_work() {
        let plants = [Plant {
            probe: Name::SearchLoop,
            percent: 5.0,
        }];
        let pieces = |name| {
            Probe::new(name, Path::new("unused"), &plants)
                .expect("a probe")
                .pieces
        };
        assert_eq!(pieces(Name::SearchLoop), 21);
        assert_eq!(pieces(Name::Processors), 20);
    }
}
