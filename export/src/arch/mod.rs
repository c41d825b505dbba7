//! The architectures: each writes its own encoder and decoder graph from a checkpoint.
//!
//! A new architecture is one new file here and one line in the list `ARCHITECTURES`; what they
//! share (attention, normalization, the decoder's inputs and outputs) is in [`blocks`].

pub mod blocks;
mod builder;
mod config;
mod weights;

mod bart;
mod bigbird_pegasus;
mod blenderbot;
mod blenderbot_small;
mod fsmt;
mod led;
mod longt5;
mod m2m_100;
mod marian;
mod mbart;
mod mt5;
mod mvp;
mod pegasus;
mod pegasus_x;
mod plbart;
mod t5;
mod umt5;

use epitome_runtime::bundle::{Layout, ModelShape};

pub use builder::{Builder, Side};
pub use config::ModelConfig;
pub use weights::ModelWeights;

use crate::error::{Error, Result};
use crate::onnx::graph::Graph;

/// Both graphs of a model, and the sizes the runtime needs to run them.
pub struct Graphs {
    /// Source tokens to cross-attention keys and values; in the portable layout to hidden states.
    pub encoder: Graph,
    /// One step of the decoder; in the portable layout of any number of tokens.
    pub decoder: Graph,
    /// A step of several tokens of one document, to verify drafts; the portable layout's decoder
    /// takes several anyway.
    pub draft: Option<Graph>,
    /// Sizes of both.
    pub shape: ModelShape,
}

/// A model family that can be exported.
pub trait Architecture: Sync {
    /// `model_type` in config.json.
    fn model_type(&self) -> &'static str;

    /// Generation settings that transformers' configuration class has where config.json is silent.
    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[]
    }

    /// Writes both graphs; the weights stream into the weight file on the way.
    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs>;
}

/// Every architecture, by name.
const ARCHITECTURES: &[&dyn Architecture] = &[
    &bart::Bart,
    &bigbird_pegasus::BigBirdPegasus,
    &blenderbot::Blenderbot,
    &blenderbot_small::BlenderbotSmall,
    &fsmt::Fsmt,
    &led::Led,
    &longt5::LongT5,
    &m2m_100::M2m100,
    &marian::Marian,
    &mbart::Mbart,
    &mt5::Mt5,
    &mvp::Mvp,
    &pegasus::Pegasus,
    &pegasus_x::PegasusX,
    &plbart::Plbart,
    &t5::T5,
    &umt5::Umt5,
];

/// The architecture that config.json names.
pub fn find(config: &ModelConfig) -> Result<&'static dyn Architecture> {
    let found = config.string("model_type")?;
    ARCHITECTURES
        .iter()
        .find(|known| known.model_type() == found)
        .copied()
        .ok_or_else(|| {
            let known = ARCHITECTURES
                .iter()
                .map(|known| known.model_type().into())
                .collect();
            Error::UnknownModelType {
                found: found.into(),
                known,
            }
        })
}
