//! T5 (Raffel et al. 2019, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
//! Transformer"), T5 v1.1 and Flan-T5.
//!
//! Agrees with `transformers/models/t5/modeling_t5.py`. The last hidden states are scaled where
//! config.json does not set `tie_word_embeddings` to false; transformers 5 ties in either case and
//! keeps that choice as `scale_decoder_outputs`. An output table that differs from the embedding is
//! used whatever config.json says.

use epitome_runtime::bundle::Layout;

use super::blocks::t5::{Biases, Defaults, Family, Model};
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "t5".
pub(super) struct T5;

const FAMILY: Family = Family {
    title: "T5",
    defaults: Defaults {
        vocab_size: 32128,
        inner: 2048,
        layers: 6,
        heads: 8,
        feed_forward: "relu",
    },
    biases: Biases::First,
    encoder_attention: "0.SelfAttention",
    source_limit: 4096,
};

impl Architecture for T5 {
    fn model_type(&self) -> &'static str {
        "t5"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[("eos_token_id", 1), ("pad_token_id", 0)]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        let scaled = config.flag("tie_word_embeddings", true)?;
        let scaled = config.flag("scale_decoder_outputs", scaled)?;
        Model::new(config, &FAMILY, scaled)?.graphs(layout, weights)
    }
}
