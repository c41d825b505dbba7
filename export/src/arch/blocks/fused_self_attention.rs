//! The operator of an encoder's self-attention, which bundles have: it computes the scores of a few
//! tokens at a time, and what each sees.

pub(crate) use epitome_runtime::kernels::attention::self_attention::Pattern;
use epitome_runtime::operators::attention;

use crate::arch::builder::Builder;
use crate::onnx::graph::{NodeBuilder, Value};

/// What the tokens of a source see.
pub(crate) struct Seen<'a> {
    /// Which tokens.
    pub(crate) pattern: Pattern,
    /// int32 `[batch, source]`: 0 for tokens that nobody sees.
    pub(crate) mask: &'a Value,
    /// What is added to the scores by distance: float32 `[heads, distances]`.
    pub(crate) bias: Option<&'a Value>,
    /// What they all see besides.
    pub(crate) globals: Option<Globals<'a>>,
}

/// What all tokens of a source see besides some of the others.
pub(crate) struct Globals<'a> {
    /// `[batch * globals, heads * head_size]`
    pub(crate) key: &'a Value,
    /// `[batch * globals, heads * head_size]`
    pub(crate) value: &'a Value,
    /// int32 `[batch, globals]`: 0 for those that do not exist.
    pub(crate) mask: &'a Value,
    /// What is added to their scores by distance in blocks, float32 `[heads, distances]`, and the
    /// block of each token, int32 `[batch, source]`.
    pub(crate) bias: Option<[&'a Value; 2]>,
}

impl<'a> Seen<'a> {
    /// All tokens but those that `mask`, int32 `[batch, source]`, hides.
    pub(crate) fn all(mask: &'a Value) -> Self {
        Self { pattern: Pattern::Full, mask, bias: None, globals: None }
    }
}

/// The operator over queries, keys and values of `[batch * source, heads * head_size]`, with the
/// `attributes` of an attention, to the same. Where everything is seen, there can be any
/// number of queries.
pub(super) fn fused(
    b: &mut Builder<'_, '_>,
    attributes: impl for<'g> FnOnce(NodeBuilder<'g>) -> NodeBuilder<'g>,
    parts: [&Value; 3],
    seen: &Seen<'_>,
) -> Value {
    let precision = b.weights.precision();
    let globals = seen.globals.as_ref();
    let of_globals =
        globals.map_or([None; 3], |globals| [globals.key, globals.value, globals.mask].map(Some));
    let global_bias = globals.and_then(|globals| globals.bias);
    let optional = [seen.bias].into_iter().chain(of_globals);
    let optional = optional.chain(global_bias.map_or([None; 2], |bias| bias.map(Some)));
    let node = b.graph.custom(attention::SELF_ATTENTION).inputs(parts).input(seen.mask);
    let node = optional.fold(node, |node, input| node.optional(input));
    let node = attributes(node);
    let node = if precision.splits_attention() { node.int(attention::SPLIT, 1) } else { node };
    let node = if precision.rounds_attention() { node.int(attention::ROUND, 1) } else { node };
    let (pattern, sizes) = match seen.pattern {
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
