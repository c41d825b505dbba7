//! mT5 (Xue et al. 2020, "mT5: A massively multilingual pre-trained text-to-text transformer").
//!
//! Agrees with `transformers/models/mt5/modeling_mt5.py`: T5 with gates, whose last hidden states are
//! never scaled. Its checkpoints hold an output table of their own.

use epitome_runtime::bundle::Layout;

use super::blocks::t5::{Biases, Defaults, Family, Model};
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "mt5".
pub(super) struct Mt5;

const FAMILY: Family = Family {
    title: "mT5",
    defaults: Defaults {
        vocab_size: 250_112,
        inner: 1024,
        layers: 8,
        heads: 6,
        feed_forward: "gated-gelu",
    },
    biases: Biases::First,
    encoder_attention: "0.SelfAttention",
    source_limit: 4096,
};

impl Architecture for Mt5 {
    fn model_type(&self) -> &'static str {
        "mt5"
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
        Model::new(config, &FAMILY, false)?.graphs(layout, weights)
    }
}
