//! DistilBERT (Sanh et al. 2019, "DistilBERT, a distilled version of BERT").
//!
//! Agrees with `transformers/models/distilbert/modeling_distilbert.py`: BERT without segments, and
//! with other names. Positions, also sinusoidal ones, are read from the checkpoint.

use super::submodel::{Submodel, SubmodelType};
use crate::arch::blocks::activation::Activation;
use crate::arch::blocks::attention::{Attention, Projections};
use crate::arch::blocks::embedding::{Embedding, TokenNorm};
use crate::arch::blocks::feed_forward::{FeedForward, FeedForwardNames};
use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::norm::{Norm, NormKind, Placement};
use crate::arch::blocks::positions::{PositionKind, PositionTable};
use crate::arch::blocks::transformer::{Stack, StackNames};
use crate::arch::config::ModelConfig;
use crate::error::Result;

pub(super) const DISTILBERT: SubmodelType = SubmodelType {
    model_type: "distilbert",
    tokenizer_class: "DistilBertTokenizer",
    encoder: Some(encoder),
    decoder: None,
    shared: None,
};

const NAMES: StackNames = StackNames {
    stack: "encoder.transformer",
    layers: "layer",
    within: "",
    self_attention: ["attention", "sa_layer_norm"],
    cross_attention: ["", ""],
    feed_forward: ["ffn", "output_layer_norm"],
    closing_norm: "",
};
const PROJECTIONS: Projections =
    Projections { query: "q_lin", key: "k_lin", value: "v_lin", output: "out_lin" };
const TABLE: &str = "encoder.embeddings.word_embeddings.weight";

fn encoder(config: &ModelConfig) -> Result<Submodel> {
    let config = &config.clone().with_aliases(&[
        ("hidden_size", "dim"),
        ("num_attention_heads", "n_heads"),
        ("num_hidden_layers", "n_layers"),
    ]);
    let hidden = config.size_or("dim", 768)?;
    let count = config.heads_or("n_heads", 12, hidden)?;
    let norm =
        Norm { kind: NormKind::Layer, size: hidden, epsilon: 1e-12, placement: Placement::Post };
    let positions = config.size_or("max_position_embeddings", 512)?;
    let table = PositionTable { kind: PositionKind::Learned { offset: 0 }, positions, hidden };
    let layers = config.layers_or("n_layers", 6)?;
    let attention = Attention::new(Heads { count, size: hidden / count }, hidden, PROJECTIONS);
    let feed_forward = FeedForward {
        inner: config.size_or("hidden_dim", 3072)?,
        activation: Activation::from_config_or(config, "activation", "gelu")?,
        names: FeedForwardNames::Plain(["lin1", "lin2"]),
    };
    let vocab_size = config.size_or("vocab_size", 30522)?;
    Ok(Submodel {
        stack: Stack::new((NAMES, layers), attention, feed_forward, norm),
        embedding: Embedding {
            positions: Some(("encoder.embeddings.position_embeddings".into(), table)),
            norm: Some(TokenNorm {
                name: "encoder.embeddings.LayerNorm".into(),
                norm,
                before_positions: false,
            }),
            ..Embedding::new(TABLE.into(), vocab_size, hidden)
        },
        table: TABLE,
        output: None,
        positions,
        aliases: Vec::new(),
        unused: Vec::new(),
    })
}
