//! LongT5 (Guo et al. 2021, "LongT5: Efficient Text-To-Text Transformer for Long Sequences").
//!
//! Agrees with `transformers/models/longt5/modeling_longt5.py`: T5 whose encoder attends to
//! `local_radius` tokens on either side. With `encoder_attention_type: "transient-global"` it also
//! attends to the sums of all whole blocks of `global_block_size` tokens, which every layer
//! computes anew. The last hidden states are scaled as in T5.

use epitome_runtime::operators::block_sums;

use super::blocks::attention::Attention;
use super::blocks::fused_self_attention::{AttentionScope, GlobalKv, Pattern};
use super::blocks::heads::{flatten, split_heads};
use super::blocks::inputs::{EncoderInputs, Tokens};
use super::blocks::local_attention::{Blocks, neighbours, within};
use super::blocks::plain_attention::{MASKED, attend_to_both, probs, score_mask, scores};
use super::blocks::relative_bias::{BiasLayers, RelativeBias};
use super::blocks::transformer::{Stack, StackNames};
use super::builder::Builder;
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, Family};
use super::model::Model;
use super::t5::{self, T5};
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::{Float, Int32, Int64};

pub(super) static LONGT5: Family = Family {
    model_type: "longt5",
    title: "LongT5",
    defaults: Defaults { positions: 16384, ..t5::DEFAULTS },
    read,
    ..T5
};

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let layers = BiasLayers::First;
    let mut model = t5::read(family, config, layers, t5::outputs_are_scaled(config)?)?;
    let field = "encoder_attention_type";
    let (attention, global_block) = match config.string_or(field, "local")? {
        "local" => ("0.LocalSelfAttention", None),
        "transient-global" => ("0.TransientGlobalSelfAttention", Some(global_block(config)?)),
        kind => {
            return Err(wrong(
                field,
                format_args!("is '{kind}', but must be local or transient-global"),
            ));
        }
    };
    model.encoder.names =
        StackNames { self_attention: [attention, "0.layer_norm"], ..family.encoder };
    let heads = model.encoder.attention.heads.count;
    let sparse = EncoderAttention {
        reach: config.bounded_or("local_radius", 127, family.defaults.positions)?,
        global_block,
        bias: RelativeBias::from_config(config, layers, heads, true)?,
    };
    model.encoder_layers =
        Box::new(move |b, encoder, inputs, x| sparse.layers(b, encoder, inputs, x));
    Ok(model)
}

/// Reads the number of tokens of a global block. transformers numbers blocks by adding up the
/// inverse of the size, which is exact only for powers of two.
fn global_block(config: &ModelConfig) -> Result<usize> {
    let field = "global_block_size";
    let size = config.size_or(field, 16)?;
    if size.is_power_of_two() {
        return Ok(size);
    }
    Err(wrong(field, format_args!("is {size}, but must be a power of two")))
}

/// The attention pattern of the encoder.
struct EncoderAttention {
    /// Number of tokens on either side.
    reach: usize,
    /// Number of tokens of a global block, with transient-global attention.
    global_block: Option<usize>,
    bias: RelativeBias,
}

impl EncoderAttention {
    fn layers(
        &self,
        b: &mut Builder<'_, '_>,
        encoder: &Stack,
        inputs: &EncoderInputs,
        x: &Value,
    ) -> Result<Value> {
        let name = self.bias.name(&encoder.names, 0);
        let local = b.scoped("local", |b| match b.is_portable() {
            true => Ok(LocalAttention::Portable(LocalBlocks::new(
                b,
                inputs,
                (self.reach, self.bias),
                &name,
            )?)),
            false => Ok(LocalAttention::Fused(self.bias.by_distance(b, &name)?)),
        })?;
        let globals = match self.global_block {
            Some(size) => Some(b.scoped("globals", |b| {
                let [attention, _] = encoder.names.self_attention;
                let name = format!(
                    "{}.{attention}.global_relative_attention_bias",
                    encoder.names.layer(0)
                );
                let blocks = WholeBlocks::new(b, inputs, size);
                Globals::new(b, (blocks, &local), (self.bias, &name))
            })?),
            None => None,
        };
        encoder.encoder(b, (inputs, x), &mut |b, (_, name), x| {
            let attention = &encoder.attention;
            let sums = match &globals {
                Some(globals) => {
                    let sums = b.scoped("globals", |b| {
                        let sums = globals.sums(b, inputs, x, encoder.norm.size);
                        encoder.norm.apply(b, &format!("{name}.global_input_layer_norm"), &sums)
                    })?;
                    Some((globals, sums))
                }
                None => None,
            };
            match &local {
                LocalAttention::Fused(bias) => {
                    self.fused(b, (attention, name), (x, bias), (inputs, sums))
                }
                LocalAttention::Portable(local) => {
                    local.attend(b, (attention, name), (x, inputs), sums)
                }
            }
        })
    }

    /// Self-attention with the fused operator: `[batch * source, hidden]` to the same shape.
    fn fused(
        &self,
        b: &mut Builder<'_, '_>,
        (attention, name): (&Attention, &str),
        (x, bias): (&Value, &Value),
        (inputs, sums): (&EncoderInputs, Option<(&Globals, Value)>),
    ) -> Result<Value> {
        let mut scope = AttentionScope {
            pattern: Pattern::Window { before: self.reach, after: self.reach },
            bias: Some(bias),
            ..AttentionScope::all(&inputs.mask)
        };
        let Some((globals, states)) = sums else {
            return attention.fused_encoder_self_attention(b, (name, x), (inputs, &scope));
        };
        let [query, key, value] = attention.qkv(b, name, x, Tokens::Source(inputs))?;
        let names = attention.names;
        let mut project = |part: &str| attention.project(b, name, part, &states);
        let [global_key, global_value] = [project(names.key)?, project(names.value)?];
        scope.globals = Some(GlobalKv {
            key: &global_key,
            value: &global_value,
            mask: &globals.blocks.valid,
            bias: Some([&globals.bias, &globals.blocks.of_token]),
        });
        let attended = attention.fused(b, [&query, &key, &value], &scope);
        attention.project_back(b, name, &attended)
    }
}

/// Tensors of local attention that all layers share.
enum LocalAttention {
    /// Bias by distance for the operator: float32 `[heads, distances]`.
    Fused(Value),
    /// Tensors for the portable layout.
    Portable(LocalBlocks),
}

/// Tensors of local attention in the portable layout, which all layers share.
struct LocalBlocks {
    blocks: Blocks,
    /// Bias by distance with the limit of reach: float32 `[1, heads, 1, size, 3 * size]`.
    bias: Value,
    /// Additive mask of padding: float32 `[batch, 1, blocks, 1, 3 * size]`.
    mask: Value,
}

impl LocalBlocks {
    fn new(
        b: &mut Builder<'_, '_>,
        inputs: &EncoderInputs,
        (reach, bias): (usize, RelativeBias),
        name: &str,
    ) -> Result<Self> {
        let blocks = Blocks::new(b, inputs, reach + 1, 0);
        let mask = blocks.mask(b, &inputs.mask);
        let mask = neighbours(b, &mask, 4, MASKED);
        let relative = blocks.relative(b);
        let bias = bias.look_up(b, name, &relative)?;
        let band = within(b, &relative, reach);
        let bias = b.graph.node("Add").inputs([&bias, &band]).output();
        let axes = b.graph.int64s(&[0, 2]);
        let bias = b.graph.node("Unsqueeze").inputs([&bias, &axes]).output();
        Ok(Self { blocks, bias, mask })
    }

    /// Self-attention: `[batch * source, hidden]` to the same shape. `globals` are the global
    /// blocks and their sums, `[batch * globals, hidden]`.
    fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        (attention, name): (&Attention, &str),
        (x, inputs): (&Value, &EncoderInputs),
        globals: Option<(&Globals, Value)>,
    ) -> Result<Value> {
        let (heads, names) = (attention.heads, attention.names);
        let mut project = |part: &str| -> Result<Value> {
            let rows = attention.project(b, name, part, x)?;
            let split = split_heads(b, &rows, &inputs.shape, heads);
            Ok(self.blocks.split(b, &split, heads))
        };
        let [query, key, value] =
            [project(names.query)?, project(names.key)?, project(names.value)?];
        let [key, value] = [key, value].map(|x| neighbours(b, &x, 3, 0.0));
        let near = scores(b, &query, &key, 5);
        let near = [&self.bias, &self.mask]
            .into_iter()
            .fold(near, |sum, added| b.graph.node("Add").inputs([&sum, added]).output());
        let attended = match globals {
            None => {
                let probs = probs(b, &near, &[]);
                b.graph.node("MatMul").inputs([&probs, &value]).output()
            }
            Some((globals, states)) => {
                let mut project = |part: &str| -> Result<Value> {
                    let rows = attention.project(b, name, part, &states)?;
                    Ok(globals.split_heads(b, &rows, attention))
                };
                let [global_key, global_value] = [project(names.key)?, project(names.value)?];
                let far = scores(b, &query, &global_key, 5);
                let graph = &mut b.graph;
                let far = graph.node("Add").inputs([&far, &globals.bias]).output();
                let in_reach = graph.int64s(&[3 * self.blocks.size as i64]);
                let node = graph.node("Concat").inputs([&in_reach, &globals.blocks.count]);
                let sizes = node.int("axis", 0).output();
                attend_to_both(b, [(&near, &value), (&far, &global_value)], &sizes, &[])
            }
        };
        let attended = self.blocks.join(b, &attended, inputs, heads);
        attention.project_back(b, name, &attended)
    }
}

/// The whole blocks of a source, for all layers.
///
/// There is always one block more than the source has whole ones, and it is masked: a short source
/// has none, and operators on empty tensors are a risk.
struct WholeBlocks {
    /// int64 `[1]`: number of blocks.
    count: Value,
    /// int64 `[blocks]`: numbers of the blocks.
    numbers: Value,
    /// int32 `[batch, source]`: the block of each token, or -1.
    of_token: Value,
    /// int32 `[batch, blocks]`: 1 for blocks that the document has.
    valid: Value,
}

impl WholeBlocks {
    fn new(b: &mut Builder<'_, '_>, inputs: &EncoderInputs, size: usize) -> Self {
        let graph = &mut b.graph;
        let [size_value, one] = [graph.int64s(&[size as i64]), graph.int64s(&[1])];
        let count = graph.node("Div").inputs([&inputs.source_length, &size_value]).output();
        let count = graph.node("Add").inputs([&count, &one]).output();
        let numbers = b.graph.range(&count);
        let of_token = block_of_token(b, inputs, size);
        let graph = &mut b.graph;
        let newest = graph.node("ReduceMax").inputs([&of_token, &one]).output();
        let valid = graph.node("LessOrEqual").inputs([&numbers, &newest]).output();
        let [of_token, valid] = [&of_token, &valid]
            .map(|value| graph.node("Cast").input(value).int("to", Int32 as i64).output());
        Self { count, numbers, of_token, valid }
    }
}

/// Tensors of attention to the sums of blocks, which all layers share.
struct Globals {
    blocks: WholeBlocks,
    /// Bias by distance in blocks, float32 `[heads, distances]`. In the portable layout the bias of
    /// each token with the mask, `[batch, heads, local blocks, size, globals]`.
    bias: Value,
    /// float32 `[batch, blocks, source]`, in the portable layout: 1 for the tokens of a block.
    members: Option<Value>,
}

impl Globals {
    fn new(
        b: &mut Builder<'_, '_>,
        (blocks, local): (WholeBlocks, &LocalAttention),
        (bias, name): (RelativeBias, &str),
    ) -> Result<Self> {
        let LocalAttention::Portable(local) = local else {
            return Ok(Self { bias: bias.by_distance(b, name)?, blocks, members: None });
        };
        let graph = &mut b.graph;
        let last = graph.int64s(&[2]);
        let of_token = graph.node("Cast").input(&blocks.of_token).int("to", Int64 as i64).output();
        let column = graph.node("Unsqueeze").inputs([&of_token, &last]).output();
        let members = graph.node("Equal").inputs([&column, &blocks.numbers]).output();
        let members = graph.node("Cast").input(&members).int("to", Float as i64).output();
        let members = graph.node("Transpose").input(&members).ints("perm", &[0, 2, 1]).output();
        // Blocks that a document does not have are masked: `[batch, 1, 1, globals]`.
        let mask = score_mask(graph, &blocks.valid);
        let relative = graph.node("Sub").inputs([&blocks.numbers, &column]).output();
        let bias = bias.look_up(b, name, &relative)?;
        let bias = b.graph.node("Transpose").input(&bias).ints("perm", &[1, 0, 2, 3]).output();
        let bias = b.graph.node("Add").inputs([&bias, &mask]).output();
        let bias = local.blocks.split_rows(b, &bias, &blocks.count);
        Ok(Self { blocks, bias, members: Some(members) })
    }

    /// Sums of the tokens of each block: `[batch * source, hidden]` to `[batch * globals, hidden]`.
    fn sums(
        &self,
        b: &mut Builder<'_, '_>,
        inputs: &EncoderInputs,
        x: &Value,
        hidden: usize,
    ) -> Value {
        let Some(members) = &self.members else {
            let blocks = [&self.blocks.of_token, &self.blocks.count];
            return b.graph.custom(block_sums::NAME).input(x).inputs(blocks).output();
        };
        let shape = inputs.with_size(b, hidden);
        let x = b.graph.node("Reshape").inputs([x, &shape]).output();
        let sums = b.graph.node("MatMul").inputs([members, &x]).output();
        flatten(b, &sums, hidden)
    }

    /// `[batch * globals, heads * head_size]` to `[batch, heads, 1, globals, head_size]`.
    fn split_heads(&self, b: &mut Builder<'_, '_>, x: &Value, attention: &Attention) -> Value {
        let heads = attention.heads;
        let graph = &mut b.graph;
        let any = graph.int64s(&[-1]);
        let leading =
            graph.node("Concat").inputs([&any, &self.blocks.count]).int("axis", 0).output();
        let shape = graph.shape(&leading, &[heads.count as i64, 1, heads.size as i64]);
        let split = graph.node("Reshape").inputs([x, &shape]).output();
        graph.node("Transpose").input(&split).ints("perm", &[0, 2, 3, 1, 4]).output()
    }
}

/// The whole block of each token: int64 `[batch, source]`. Tokens behind the last whole block
/// belong to it. Padding, and all tokens of a source without a whole block, have -1.
fn block_of_token(b: &mut Builder<'_, '_>, inputs: &EncoderInputs, size: usize) -> Value {
    let positions = b.graph.range(&inputs.source_length);
    let graph = &mut b.graph;
    let [size, final_token, one] = [
        graph.int64_scalar(size as i64),
        graph.int64_scalar(size as i64 - 1),
        graph.int64_scalar(1),
    ];
    let axis = graph.int64s(&[1]);
    let mask = graph.node("Cast").input(&inputs.mask).int("to", Int64 as i64).output();
    let block = graph.node("Div").inputs([&positions, &size]).output();
    let within = graph.node("Mod").inputs([&positions, &size]).output();
    let ends = graph.node("Equal").inputs([&within, &final_token]).output();
    let ends = graph.node("Cast").input(&ends).int("to", Int64 as i64).output();
    let ends = graph.node("Mul").inputs([&mask, &ends]).output();
    let whole = graph.node("ReduceSum").inputs([&ends, &axis]).output();
    let last = graph.node("Sub").inputs([&whole, &one]).output();
    let block = graph.node("Mul").inputs([&block, &mask]).output();
    let padding = graph.node("Sub").inputs([&mask, &one]).output();
    let block = graph.node("Add").inputs([&block, &padding]).output();
    graph.node("Min").inputs([&block, &last]).output()
}
