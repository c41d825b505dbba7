//! FSMT, fairseq's translation models of WMT19 (Ng et al. 2019, "Facebook FAIR's WMT19 News
//! Translation Task Submission").
//!
//! Agrees with `transformers/models/fsmt/modeling_fsmt.py`: post-norm layers, fairseq's sinusoidal
//! positions, tables of their own for source and summary, of which transformers 4 ties the decoder's
//! to the output whatever config.json says.

use epitome_runtime::bundle::Layout;

use super::blocks::bart::{Defaults, EmbeddingNorm, Family, Model};
use super::blocks::norm::Placement;
use super::blocks::positions::Positions;
use super::blocks::transformer::StackNames;
use super::{Architecture, Graphs, ModelConfig, ModelWeights};
use crate::error::Result;

/// `model_type` "fsmt".
pub(super) struct Fsmt;

/// `pad_token_id` where config.json says nothing.
const PADDING: u32 = 1;

const FAMILY: Family = Family {
    title: "FSMT",
    encoder: StackNames::bart("model.encoder"),
    decoder: StackNames::bart("model.decoder"),
    tables: &[
        "model.decoder.embed_tokens.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "model.decoder.output_projection.weight",
    ],
    placement: Placement::Post,
    embedding_norm: EmbeddingNorm::None,
    positions: Positions::Counted { padding: PADDING },
    defaults: Defaults {
        vocab_size: 42024,
        activation: "relu",
        scale_embedding: true,
        ..Defaults::BART
    },
};

impl Architecture for Fsmt {
    fn model_type(&self) -> &'static str {
        "fsmt"
    }

    fn generation_defaults(&self) -> &'static [(&'static str, u32)] {
        &[
            ("bos_token_id", 0),
            ("decoder_start_token_id", 2),
            ("eos_token_id", 2),
            ("forced_eos_token_id", 2),
            ("max_length", 200),
            ("num_beams", 5),
            ("pad_token_id", 1),
        ]
    }

    fn build(
        &self,
        config: &ModelConfig,
        layout: Layout,
        weights: &mut ModelWeights<'_>,
    ) -> Result<Graphs> {
        let default = FAMILY.defaults.vocab_size;
        let source_vocab_size = config.size_or("src_vocab_size", default)?;
        let family = Family {
            positions: Positions::Counted {
                padding: config.token_or("pad_token_id", PADDING, source_vocab_size)?,
            },
            ..FAMILY
        };
        let mut model = Model::new(config, &family)?;
        model.source_vocab_size = source_vocab_size;
        model.vocab_size = config.size_or("tgt_vocab_size", default)?;
        model.separate_tables = !config.flag("tie_word_embeddings", false)?;
        model.tied_output = true;
        model.graphs(layout, weights)
    }
}
