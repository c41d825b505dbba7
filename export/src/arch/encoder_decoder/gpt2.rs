//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), as a decoder
//! with cross-attention.
//!
//! Agrees with `transformers/models/gpt2/modeling_gpt2.py`: pre-norm layers, learned positions. The
//! weights belong to `Conv1D` layers: they are transposed, and queries, keys and values are in one
//! tensor.

use super::submodel::{Submodel, SubmodelType};
use crate::arch::blocks::activation::Activation;
use crate::arch::blocks::attention::{Attention, Projections};
use crate::arch::blocks::embedding::Embedding;
use crate::arch::blocks::feed_forward::{FeedForward, FeedForwardNames};
use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::norm::{Norm, NormKind, Placement};
use crate::arch::blocks::output::Output;
use crate::arch::blocks::positions::{PositionKind, PositionTable};
use crate::arch::blocks::transformer::{Stack, StackNames};
use crate::arch::config::{ModelConfig, wrong};
use crate::arch::weights::Alias;
use crate::error::Result;

pub(super) const GPT2: SubmodelType = SubmodelType {
    model_type: "gpt2",
    tokenizer_class: "GPT2Tokenizer",
    encoder: None,
    decoder: Some(decoder),
    shared: None,
};

const NAMES: StackNames = StackNames {
    stack: "decoder.transformer",
    layers: "h",
    within: "",
    self_attention: ["attn", "ln_1"],
    cross_attention: ["crossattention", "ln_cross_attn"],
    feed_forward: ["mlp", "ln_2"],
    closing_norm: "ln_f",
};
/// The first three are columns of `c_attn` and `q_attn`.
const PROJECTIONS: Projections =
    Projections { query: "query", key: "key", value: "value", output: "c_proj" };
const TABLE: &str = "decoder.transformer.wte.weight";

fn decoder(config: &ModelConfig) -> Result<Submodel> {
    let config = &config.clone().with_aliases(&[
        ("hidden_size", "n_embd"),
        ("max_position_embeddings", "n_positions"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
    ]);
    let by_layer = "scale_attn_by_inverse_layer_idx";
    if config.flag(by_layer, false)? {
        return Err(wrong(by_layer, "is true, which is not supported"));
    }
    let hidden = config.size_or("n_embd", 768)?;
    let count = config.heads_or("n_head", 12, hidden)?;
    let layers = config.layers_or("n_layer", 12)?;
    let attention = Attention {
        scale: (!config.flag("scale_attn_weights", true)?).then_some(1.0),
        ..Attention::new(Heads { count, size: hidden / count }, hidden, PROJECTIONS)
    };
    let feed_forward = FeedForward {
        inner: config.size_or("n_inner", 4 * hidden)?,
        activation: Activation::from_config_or(config, "activation_function", "gelu_new")?,
        names: FeedForwardNames::Plain(["c_fc", "c_proj"]),
    };
    let norm = Norm {
        kind: NormKind::Layer,
        size: hidden,
        epsilon: config.positive_or("layer_norm_epsilon", 1e-5)?,
        placement: Placement::Pre,
    };
    let stack = Stack::new((NAMES, layers), attention, feed_forward, norm);
    let vocab_size = config.size_or("vocab_size", 50257)?;
    let positions = config.size_or("n_positions", 1024)?;
    let table = PositionTable { kind: PositionKind::Learned { offset: 0 }, positions, hidden };
    let buffers =
        ["attn.bias", "attn.masked_bias", "crossattention.bias", "crossattention.masked_bias"];
    Ok(Submodel {
        aliases: (0..layers).flat_map(|layer| aliases(&stack, layer)).collect(),
        stack,
        embedding: Embedding {
            positions: Some(("decoder.transformer.wpe".into(), table)),
            ..Embedding::new(TABLE.into(), vocab_size, hidden)
        },
        table: TABLE,
        output: Some(Output {
            tied: config.flag("tie_word_embeddings", true)?,
            bias: ("decoder.lm_head.bias", vec![vocab_size]),
            ..Output::new("decoder.lm_head.weight", vocab_size, hidden)
        }),
        positions,
        unused: (0..layers)
            .flat_map(|layer| buffers.map(|name| format!("{}.{name}", NAMES.layer(layer))))
            .collect(),
    })
}

/// The checkpoint tensors of a layer's linear layers.
fn aliases(stack: &Stack, layer: usize) -> Vec<(String, Alias)> {
    let (hidden, inner) = (stack.norm.size, stack.feed_forward.inner);
    let name = NAMES.layer(layer);
    [
        ("attn.query", "attn.c_attn", 0, 3 * hidden),
        ("attn.key", "attn.c_attn", hidden, 3 * hidden),
        ("attn.value", "attn.c_attn", 2 * hidden, 3 * hidden),
        ("attn.c_proj", "attn.c_proj", 0, hidden),
        ("crossattention.query", "crossattention.q_attn", 0, hidden),
        ("crossattention.key", "crossattention.c_attn", 0, 2 * hidden),
        ("crossattention.value", "crossattention.c_attn", hidden, 2 * hidden),
        ("crossattention.c_proj", "crossattention.c_proj", 0, hidden),
        ("mlp.c_fc", "mlp.c_fc", 0, inner),
        ("mlp.c_proj", "mlp.c_proj", 0, hidden),
    ]
    .into_iter()
    .flat_map(|(part, of, from, all)| {
        ["weight", "bias"].map(|kind| {
            let of = format!("{name}.{of}.{kind}");
            (format!("{name}.{part}.{kind}"), Alias::Columns { of, from, all })
        })
    })
    .collect()
}
