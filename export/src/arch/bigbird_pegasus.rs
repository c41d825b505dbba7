//! BigBird-PEGASUS (Zaheer et al. 2020, "Big Bird: Transformers for Longer Sequences").
//!
//! Agrees with `transformers/models/bigbird_pegasus/modeling_bigbird_pegasus.py`: PEGASUS with
//! learned positions from the first row of the table. With `attention_type: "block_sparse"` and a
//! source that is long enough, a block of the encoder's tokens attends to itself, its neighbours
//! and the first and last block, and these two attend to all blocks. transformers draws the random
//! blocks in training only. In inference all of them are the first block, which therefore counts
//! once more for each.
//!
//! transformers stays with full attention once a model has read a short source. Here each source is
//! treated as by a fresh model.

use super::bart::{self, BART};
use super::blocks::attention::Projections;
use super::blocks::fused_self_attention::{self, AttentionScope};
use super::blocks::inputs::EncoderInputs;
use super::blocks::norm::Placement;
use super::blocks::plain_attention::MASKED;
use super::blocks::positions::PositionKind;
use super::blocks::transformer::StackNames;
use super::builder::Builder;
use super::config::{ModelConfig, wrong};
use super::family::{Defaults, EmbeddingNorm, Family};
use super::model::Model;
use crate::error::Result;
use crate::onnx::graph::Value;

pub(super) static BIGBIRD_PEGASUS: Family = Family {
    model_type: "bigbird_pegasus",
    title: "BigBird-PEGASUS",
    tokenizer_class: "PegasusTokenizer",
    generation_defaults: &[
        ("bos_token_id", 2),
        ("decoder_start_token_id", 2),
        ("eos_token_id", 1),
        ("pad_token_id", 0),
    ],
    forces_bos_by_old_name: false,
    encoder: names("model.encoder"),
    decoder: names("model.decoder"),
    placement: Placement::Pre,
    embedding_norm: EmbeddingNorm::None,
    positions: Some(PositionKind::Learned { offset: 0 }),
    defaults: Defaults {
        vocab_size: 96103,
        positions: 4096,
        encoder: [16, 16, 4096],
        decoder: [16, 16, 4096],
        activation: "gelu_new",
        scale_embedding: true,
        ..bart::DEFAULTS
    },
    read,
    ..BART
};

/// Names of the parts of a stack. The closing norm is named `layernorm_embedding`.
const fn names(stack: &'static str) -> StackNames {
    StackNames { closing_norm: "layernorm_embedding", ..StackNames::bart(stack) }
}

/// Names below the layer's `self_attn`.
const PROJECTIONS: Projections =
    Projections { query: "self.query", key: "self.key", value: "self.value", output: "output" };

fn read(family: &Family, config: &ModelConfig) -> Result<Model> {
    let mut model = bart::read(family, config)?;
    model.encoder.attention.names = PROJECTIONS;
    let field = "attention_type";
    let pattern = match config.string_or(field, "block_sparse")? {
        "original_full" => return Ok(model),
        "block_sparse" => Pattern {
            block_size: config.size_or("block_size", 64)?,
            random_blocks: config.size_or("num_random_blocks", 3)?,
        },
        other => {
            return Err(wrong(
                field,
                format_args!("is '{other}', but must be original_full or block_sparse"),
            ));
        }
    };
    model.encoder_layers = Box::new(move |b, encoder, inputs, x| {
        if !b.is_portable() {
            let scope =
                AttentionScope { pattern: pattern.fused(), ..AttentionScope::all(&inputs.mask) };
            return encoder.encoder(b, (inputs, x), &mut |b, (_, name), x| {
                encoder.attention.fused_encoder_self_attention(b, (name, x), (inputs, &scope))
            });
        }
        let bias = b.scoped("pattern", |b| Ok(pattern.bias(b, inputs)))?;
        encoder.encoder(b, (inputs, x), &mut |b, (_, name), x| {
            let attention = &encoder.attention;
            attention.encoder_self_attention(b, name, x, inputs, Some(&bias))
        })
    });
    Ok(model)
}

/// The block-sparse attention pattern.
struct Pattern {
    block_size: usize,
    random_blocks: usize,
}

impl Pattern {
    /// Maximum number of tokens of a source with full attention.
    fn longest_full(&self) -> usize {
        (5 + 2 * self.random_blocks) * self.block_size
    }

    /// The pattern of the operator.
    fn fused(&self) -> fused_self_attention::Pattern {
        let &Self { block_size: size, random_blocks } = self;
        fused_self_attention::Pattern::BigBird { size, random_blocks }
    }

    /// Bias that the portable layout adds to the scores of full attention: float32
    /// `[1, 1, source, source]`.
    fn bias(&self, b: &mut Builder<'_, '_>, inputs: &EncoderInputs) -> Value {
        let positions = b.graph.range(&inputs.source_length);
        let graph = &mut b.graph;
        let size = graph.int64_scalar(self.block_size as i64);
        let [zero, one] = [graph.int64_scalar(0), graph.int64_scalar(1)];
        let longest_full = graph.int64s(&[self.longest_full() as i64]);
        let column = graph.int64s(&[1]);
        // The block of each key, `[source]`, and of each query, `[source, 1]`.
        let keys = graph.node("Div").inputs([&positions, &size]).output();
        let queries = graph.node("Unsqueeze").inputs([&keys, &column]).output();
        let last = graph.node("Sub").inputs([&inputs.source_length, &one]).output();
        let last = graph.node("Div").inputs([&last, &size]).output();

        let mut is = |op: &str, a: &Value, b: &Value| graph.node(op).inputs([a, b]).output();
        let from_end = [is("Equal", &queries, &zero), is("Equal", &queries, &last)];
        let to_first = is("Equal", &keys, &zero);
        let to_last = is("Equal", &keys, &last);
        let full = is("LessOrEqual", &inputs.source_length, &longest_full);
        let distance = is("Sub", &queries, &keys);
        let everything = is("Or", &from_end[0], &from_end[1]);
        let everything = is("Or", &everything, &full);
        let ends = is("Or", &to_first, &to_last);
        let visible = is("Or", &ends, &everything);
        let distance = graph.node("Abs").input(&distance).output();
        let near = graph.node("LessOrEqual").inputs([&distance, &one]).output();
        let visible = graph.node("Or").inputs([&visible, &near]).output();
        let sparse = graph.node("Not").input(&everything).output();
        let again = graph.node("And").inputs([&sparse, &to_first]).output();

        let [nothing, masked] = [graph.scalar(0.0), graph.scalar(MASKED)];
        let count = graph.scalar((1.0 + self.random_blocks as f32).ln());
        let again = graph.node("Where").inputs([&again, &count, &nothing]).output();
        let bias = graph.node("Where").inputs([&visible, &again, &masked]).output();
        let axes = graph.int64s(&[0, 1]);
        graph.node("Unsqueeze").inputs([&bias, &axes]).output()
    }
}
