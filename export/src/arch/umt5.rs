//! umT5 (Chung et al. 2023, "UniMax: Fairer and more Effective Language Sampling for Large-Scale
//! Multilingual Pretraining").
//!
//! Agrees with `transformers/models/umt5/modeling_umt5.py`: mT5 with a relative bias in every layer.
//! A `tie_word_embeddings` of false, which only transformers 4 writes, means there that the last
//! hidden states are not scaled, and does here; transformers 5 overrides it and scales always.

use epitome_runtime::bundle::Layout;

use super::blocks::t5::{Biases, Defaults, Family, Model};
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "umt5".
pub(super) struct Umt5;

const FAMILY: Family = Family {
    title: "umT5",
    defaults: Defaults {
        vocab_size: 250_112,
        inner: 1024,
        layers: 8,
        heads: 6,
        feed_forward: "gated-gelu",
    },
    biases: Biases::Every,
    encoder_attention: "0.SelfAttention",
    source_limit: 4096,
};

impl Architecture for Umt5 {
    fn model_type(&self) -> &'static str {
        "umt5"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("decoder_start_token_id", 0),
            ("eos_token_id", 1),
            ("pad_token_id", 0),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        let scaled = config.flag("tie_word_embeddings", true)?;
        Model::new(config, &FAMILY, scaled)?.graphs(layout, weights)
    }
}
