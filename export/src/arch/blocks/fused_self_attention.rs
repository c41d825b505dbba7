//! The operator of an encoder's self-attention in bundles. It computes the scores of a few tokens
//! at a time, and applies the attention pattern itself.

pub(crate) use epitome_runtime::kernels::attention::self_attention::Pattern;
use epitome_runtime::operators::attention;

use crate::arch::builder::Builder;
use crate::onnx::graph::{NodeBuilder, Value};

/// The keys that the tokens of a source attend to.
pub(crate) struct AttentionScope<'a> {
    /// The attention pattern.
    pub(crate) pattern: Pattern,
    /// int32 `[batch, source]`: 0 for tokens that are masked.
    pub(crate) mask: &'a Value,
    /// Bias of the scores by distance: float32 `[heads, distances]`.
    pub(crate) bias: Option<&'a Value>,
    /// Global keys and values that all tokens attend to.
    pub(crate) globals: Option<GlobalKv<'a>>,
}

/// Global keys and values that all tokens of a source attend to, beside some tokens of the source.
pub(crate) struct GlobalKv<'a> {
    /// Keys: `[batch * globals, heads * head_size]`.
    pub(crate) key: &'a Value,
    /// Values: `[batch * globals, heads * head_size]`.
    pub(crate) value: &'a Value,
    /// int32 `[batch, globals]`: 0 for global tokens that do not exist.
    pub(crate) mask: &'a Value,
    /// Bias of their scores by distance in blocks, float32 `[heads, distances]`, and the block of
    /// each token, int32 `[batch, source]`.
    pub(crate) bias: Option<[&'a Value; 2]>,
}

impl<'a> AttentionScope<'a> {
    /// Attention to all tokens but those where `mask`, int32 `[batch, source]`, is 0.
    pub(crate) fn all(mask: &'a Value) -> Self {
        Self { pattern: Pattern::Full, mask, bias: None, globals: None }
    }
}

/// Writes the operator for queries, keys and values `[batch * source, heads * head_size]`, with the
/// `attributes` of an attention. The result has the same shape. Without a pattern, the number of
/// queries may differ from the number of keys.
pub(super) fn fused(
    b: &mut Builder<'_, '_>,
    attributes: impl for<'g> FnOnce(NodeBuilder<'g>) -> NodeBuilder<'g>,
    parts: [&Value; 3],
    scope: &AttentionScope<'_>,
) -> Value {
    let precision = b.weights.precision();
    let globals = scope.globals.as_ref();
    let of_globals =
        globals.map_or([None; 3], |globals| [globals.key, globals.value, globals.mask].map(Some));
    let global_bias = globals.and_then(|globals| globals.bias);
    let optional = [scope.bias].into_iter().chain(of_globals);
    let optional = optional.chain(global_bias.map_or([None; 2], |bias| bias.map(Some)));
    let node = b.graph.custom(attention::SELF_ATTENTION).inputs(parts).input(scope.mask);
    let node = optional.fold(node, |node, input| node.optional(input));
    let node = attributes(node);
    let node = if precision.splits_attention() { node.int(attention::SPLIT, 1) } else { node };
    let node = if precision.rounds_attention() { node.int(attention::ROUND, 1) } else { node };
    let (pattern, sizes) = match scope.pattern {
        Pattern::Full => return node.output(),
        Pattern::Window { before, after } => {
            let after = (after != before).then_some((attention::REACH_AFTER, after));
            let reach = [(attention::REACH, before)].into_iter().chain(after);
            (attention::WINDOW, reach.collect())
        }
        Pattern::Blocks { size, lead } => {
            (attention::BLOCKS, vec![(attention::BLOCK_SIZE, size), (attention::LEAD, lead)])
        }
        Pattern::BigBird { size, random_blocks } => (
            attention::BIG_BIRD,
            vec![(attention::BLOCK_SIZE, size), (attention::RANDOM_BLOCKS, random_blocks)],
        ),
    };
    let node = node.string(attention::PATTERN, pattern);
    sizes.into_iter().fold(node, |node, (name, size)| node.int(name, size as i64)).output()
}
