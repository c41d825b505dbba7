//! PEGASUS-X (Phang et al. 2022, "Investigating Efficiently Extending Transformers for Long Input
//! Summarization").
//!
//! Agrees with `transformers/models/pegasus_x/modeling_pegasus_x.py`: PEGASUS without biases in its
//! attention, with computed positions, without `final_logits_bias`, and with two kinds of tokens in
//! the encoder: tokens of the source attend to their block and to the global tokens, and global
//! tokens attend to all. In every second layer blocks begin half a block earlier.

use super::bart::{self, BART};
use super::blocks::attention::Attention;
use super::blocks::fused_self_attention::{AttentionScope, GlobalKv, Pattern};
use super::blocks::heads::{flatten, split_heads};
use super::blocks::inputs::EncoderInputs;
use super::blocks::local_attention::Blocks;
use super::blocks::norm::{Placement, ResidualStream};
use super::blocks::plain_attention::{attend, attend_to_both, scores};
use super::blocks::positions::PositionKind;
use super::blocks::transformer::Stack;
use super::builder::Builder;
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;
use crate::onnx::graph::Value;

pub(super) static PEGASUS_X: Family = Family {
    model_type: "pegasus_x",
    title: "PEGASUS-X",
    tokenizer_class: "PegasusTokenizer",
    generation_defaults: &[
        ("decoder_start_token_id", 0),
        ("eos_token_id", 1),
        ("forced_eos_token_id", 1),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Computed),
    defaults: Defaults {
        vocab_size: 96103,
        positions: 16384,
        encoder: [16, 16, 4096],
        decoder: [16, 16, 4096],
        scale_embedding: true,
        ..bart::DEFAULTS
    },
    read,
    ..BART
};

/// Limit of `block_size`: a source is padded to whole blocks.
const MAX_BLOCK: usize = 1 << 16;

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    let globals = config.size_or("num_global_tokens", 32)?;
    let block_size = config.bounded_or("block_size", 512, MAX_BLOCK)?;
    let staggered = config.flag("stagger_local_blocks", true)?;
    if !block_size.is_multiple_of(2) {
        return Err(wrong("block_size", format_args!("is {block_size}, but must be even")));
    }
    model.encoder_layers = Box::new(move |b, stack, inputs, x| {
        let encoder = Encoder { stack, inputs, globals, block_size, staggered };
        encoder.layers(b, x)
    });
    Ok(model)
}

struct Encoder<'a> {
    stack: &'a Stack,
    inputs: &'a EncoderInputs,
    /// Number of global tokens.
    globals: usize,
    block_size: usize,
    staggered: bool,
}

/// Division of the source into blocks, for one kind of layer.
struct BlockDivision {
    blocks: Blocks,
    /// Additive mask: float32 `[batch, 1, blocks, 1, globals + size]`.
    mask: Value,
}

/// Tensors that all layers share.
enum Shared {
    /// Tensors of the operator.
    Fused {
        /// int32 `[batch, globals]`: ones, since all global tokens are attended to.
        globals: Value,
    },
    /// Tensors of the portable layout.
    Portable {
        /// The division into blocks of each kind of layer.
        divisions: Vec<BlockDivision>,
        /// Additive mask of all keys: float32 `[batch, 1, 1, globals + source]`.
        full_mask: Value,
    },
}

/// Queries, keys and values: `[batch * tokens, heads * head_size]` each, or in the portable layout
/// `[batch, heads, tokens, head_size]`.
struct Projected {
    query: Value,
    key: Value,
    value: Value,
}

impl Encoder<'_> {
    fn attention(&self) -> &Attention {
        &self.stack.attention
    }

    fn layers(&self, b: &mut Builder<'_, '_>, x: &Value) -> Result<Value> {
        let stack = self.stack;
        // Padding before the first token, for each kind of layer.
        let leads = match self.staggered {
            true => vec![0, self.block_size / 2],
            false => vec![0],
        };
        let shared = b.scoped("blocks", |b| Ok(self.shared(b, &leads)))?;
        let mut tokens = {
            let mut names = self.norms("self_attn_layer_norm");
            names.push(stack.names.below(stack.names.closing_norm));
            ResidualStream::start(b, stack.norm, names, x)?
        };
        let mut globals = {
            let start = b.scoped("globals", |b| self.start_of_globals(b))?;
            let names = self.norms("global_self_attn_layer_norm");
            ResidualStream::start(b, stack.norm, names, &start)?
        };
        for layer in 0..stack.layers {
            let name = stack.names.layer(layer);
            let last = layer + 1 == stack.layers;
            b.scoped(&name, |b| {
                let attention = format!("{name}.self_attn");
                let local = self.project_tokens(b, &attention, tokens.input())?;
                let global = self.project_globals(b, &attention, globals.input())?;
                let kind = layer % leads.len();
                let attended = b.scoped("tokens", |b| {
                    let attended = match &shared {
                        Shared::Fused { globals } => {
                            let size = self.block_size;
                            let pattern = Pattern::Blocks { size, lead: leads[kind] };
                            self.fused(b, pattern, [&local, &local, &global], globals)
                        }
                        Shared::Portable { divisions, .. } => {
                            self.attend_from_tokens(b, &divisions[kind], &local, &global)
                        }
                    };
                    self.attention().project_back(b, &attention, &attended)
                })?;
                tokens.add(b, &attended)?;
                let hidden = self.attention().hidden;
                let inner = stack.feed_forward.apply(b, &name, tokens.input(), hidden)?;
                tokens.add(b, &inner)?;
                // No layer reads the global tokens of the last layer.
                if last {
                    return Ok(());
                }
                b.scoped("globals", |b| {
                    let attended = match &shared {
                        Shared::Fused { globals } => {
                            self.fused(b, Pattern::Full, [&global, &local, &global], globals)
                        }
                        Shared::Portable { full_mask, .. } => {
                            self.attend_from_globals(b, full_mask, &local, &global)
                        }
                    };
                    let attended = self.attention().project_back(b, &attention, &attended)?;
                    globals.add(b, &attended)?;
                    let inner = stack.feed_forward.apply(b, &name, globals.input(), hidden)?;
                    globals.add(b, &inner)
                })
            })?;
        }
        Ok(tokens.input().clone())
    }

    /// Names of the norms of one kind of tokens, in the order in which they run.
    fn norms(&self, attention_norm: &str) -> Vec<String> {
        let names = &self.stack.names;
        (0..self.stack.layers)
            .flat_map(|layer| {
                [attention_norm, "final_layer_norm"]
                    .map(|norm| format!("{}.{norm}", names.layer(layer)))
            })
            .collect()
    }

    fn shared(&self, b: &mut Builder<'_, '_>, leads: &[usize]) -> Shared {
        if b.is_portable() {
            let divisions = leads.iter().map(|lead| self.division(b, *lead)).collect();
            return Shared::Portable { divisions, full_mask: self.full_mask(b) };
        }
        let batch = self.batch(b);
        let shape = b.graph.shape(&batch, &[self.globals as i64]);
        let one = b.graph.int32s(&[1]);
        Shared::Fused { globals: b.graph.node("Expand").inputs([&one, &shape]).output() }
    }

    /// The number of documents: int64 `[1]`.
    fn batch(&self, b: &mut Builder<'_, '_>) -> Value {
        let [from, to] = [b.graph.int64s(&[0]), b.graph.int64s(&[1])];
        b.graph.node("Slice").inputs([&self.inputs.shape, &from, &to]).output()
    }

    /// Attention with the operator: the queries of the first attend to the keys of the second by
    /// `pattern`, and to all of the third, the global tokens.
    fn fused(
        &self,
        b: &mut Builder<'_, '_>,
        pattern: Pattern,
        [queries, tokens, global]: [&Projected; 3],
        mask: &Value,
    ) -> Value {
        let globals = GlobalKv { key: &global.key, value: &global.value, mask, bias: None };
        let scope = AttentionScope {
            pattern,
            globals: Some(globals),
            ..AttentionScope::all(&self.inputs.mask)
        };
        self.attention().fused(b, [&queries.query, &tokens.key, &tokens.value], &scope)
    }

    fn division(&self, b: &mut Builder<'_, '_>, lead: usize) -> BlockDivision {
        let blocks = Blocks::new(b, self.inputs, self.block_size, lead);
        let mask = blocks.mask(b, &self.inputs.mask);
        let mask = self.unmasked_globals(b, &mask, 4);
        BlockDivision { blocks, mask }
    }

    /// Additive mask of the scores of all keys, the global ones first: float32
    /// `[batch, 1, 1, globals + source]`.
    fn full_mask(&self, b: &mut Builder<'_, '_>) -> Value {
        let mask = self.inputs.score_mask(b);
        self.unmasked_globals(b, &mask, 3)
    }

    /// Puts zeros for the global tokens before `mask`, along `axis`.
    fn unmasked_globals(&self, b: &mut Builder<'_, '_>, mask: &Value, axis: i64) -> Value {
        let graph = &mut b.graph;
        let [pads, axis] = [graph.int64s(&[self.globals as i64, 0]), graph.int64s(&[axis])];
        let zero = graph.scalar(0.0);
        graph.node("Pad").inputs([mask, &pads, &zero, &axis]).output()
    }

    /// The global tokens of every document: `[batch * globals, hidden]`.
    fn start_of_globals(&self, b: &mut Builder<'_, '_>) -> Result<Value> {
        let hidden = self.attention().hidden;
        let name = self.stack.names.below("embed_global.weight");
        let table = b.weight(&name, &[self.globals, hidden])?;
        let batch = self.batch(b);
        let shape = b.graph.shape(&batch, &[self.globals as i64, hidden as i64]);
        let globals = b.graph.node("Expand").inputs([&table, &shape]).output();
        Ok(flatten(b, &globals, hidden))
    }

    fn project_tokens(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Projected> {
        self.project(b, name, x, |b, x| {
            split_heads(b, x, &self.inputs.shape, self.attention().heads)
        })
    }

    fn project_globals(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Projected> {
        let heads = self.attention().heads;
        let sizes = [self.globals, heads.count, heads.size].map(|size| size as i64);
        self.project(b, name, x, |b, x| {
            let shape = b.graph.int64s(&[-1, sizes[0], sizes[1], sizes[2]]);
            let split = b.graph.node("Reshape").inputs([x, &shape]).output();
            b.graph.node("Transpose").input(&split).ints("perm", &[0, 2, 1, 3]).output()
        })
    }

    fn project(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        split: impl Fn(&mut Builder<'_, '_>, &Value) -> Value,
    ) -> Result<Projected> {
        let attention = self.attention();
        let mut part = |part: &str| -> Result<Value> {
            let rows = attention.project(b, name, part, x)?;
            Ok(if b.is_portable() { split(b, &rows) } else { rows })
        };
        let names = attention.names;
        let [query, key, value] = [part(names.query)?, part(names.key)?, part(names.value)?];
        if !b.is_portable() {
            return Ok(Projected { query, key, value });
        }
        let scale = b.graph.scalar(attention.score_scale());
        let query = b.graph.node("Mul").inputs([&query, &scale]).output();
        Ok(Projected { query, key, value })
    }

    /// Attention of the source's tokens to the global tokens and to their block:
    /// `[batch * source, hidden]`.
    fn attend_from_tokens(
        &self,
        b: &mut Builder<'_, '_>,
        division: &BlockDivision,
        local: &Projected,
        global: &Projected,
    ) -> Value {
        let heads = self.attention().heads;
        let parts = [&local.query, &local.key, &local.value];
        let [query, key, value] = parts.map(|x| division.blocks.split(b, x, heads));
        // The global tokens in the shape of one block, which all blocks share.
        let axis = b.graph.int64s(&[2]);
        let [global_key, global_value] = [&global.key, &global.value]
            .map(|x| b.graph.node("Unsqueeze").inputs([x, &axis]).output());
        let to_globals = scores(b, &query, &global_key, 5);
        let to_block = scores(b, &query, &key, 5);
        let sizes = b.graph.int64s(&[self.globals as i64, self.block_size as i64]);
        let parts = [(&to_globals, &global_value), (&to_block, &value)];
        let attended = attend_to_both(b, parts, &sizes, &[&division.mask]);
        division.blocks.join(b, &attended, self.inputs, heads)
    }

    /// Attention of the global tokens to themselves and to all others: `[batch * globals, hidden]`.
    fn attend_from_globals(
        &self,
        b: &mut Builder<'_, '_>,
        mask: &Value,
        local: &Projected,
        global: &Projected,
    ) -> Value {
        let heads = self.attention().heads;
        let pairs = [(&global.key, &local.key), (&global.value, &local.value)];
        let [key, value] = pairs.map(|(globals, tokens)| {
            let node = b.graph.node("Concat").inputs([globals, tokens]);
            node.int("axis", 2).output()
        });
        attend(b, [&global.query, &key, &value], &[mask], heads)
    }
}
