//! Mixtures of experts: a router chooses one or two feed-forward layers for each token.

use super::activation::Activation;
use super::feed_forward::{FeedForward, FeedForwardNames};
use super::inputs::{EncoderInputs, Tokens};
use super::matrix::Matrix;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};
use crate::onnx::proto::ElementType::{Bool, Double, Float, Int32, Int64};

/// The experts of some layers of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experts {
    /// Number of experts.
    pub(crate) count: usize,
    /// How tokens are routed.
    pub(crate) routing: Routing,
    /// First layer with experts.
    pub(crate) first: usize,
    /// Distance between layers with experts.
    pub(crate) step: usize,
    /// The feed-forward layers of each expert.
    pub(crate) feed_forward: FeedForward,
}

/// How tokens are routed to experts. The capacity of an expert limits the tokens of a source, which
/// arrive together. It does not limit the tokens of a summary, which arrive one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Routing {
    /// Top-1: the result is multiplied with the probability of the expert.
    First {
        /// Maximum number of tokens of a source for each expert.
        capacity: usize,
    },
    /// Top-2: the results are multiplied with the normalized probabilities of both experts.
    Two {
        /// Maximum number of tokens of a source for each expert.
        capacity: Capacity,
        /// Whether probabilities are normalized before tokens are dropped at full experts.
        normalize_before_dropping: bool,
        /// Factor of every result.
        factor: f32,
    },
}

/// Maximum number of tokens of a source for each expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capacity {
    /// A fixed number.
    Tokens(usize),
    /// This share of the tokens, rounded up.
    Share(f64),
}

impl Routing {
    /// Number of experts of a token.
    fn choices(self) -> usize {
        match self {
            Self::First { .. } => 1,
            Self::Two { .. } => 2,
        }
    }

    /// Capacity of each expert, if it is limited.
    fn capacity(self) -> Option<Capacity> {
        match self {
            Self::First { capacity } => Some(Capacity::Tokens(capacity)),
            Self::Two { capacity: Capacity::Share(1.0..), .. } => None,
            Self::Two { capacity, .. } => Some(capacity),
        }
    }
}

impl Experts {
    /// Whether a layer has experts.
    pub(crate) fn are_in(&self, layer: usize) -> bool {
        layer >= self.first && (layer - self.first).is_multiple_of(self.step)
    }

    /// Routes `[rows, hidden]` through the experts, to the same shape. `name` is the prefix of
    /// router and experts.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let routing_weights = self.routing_weights(b, name, x, hidden, tokens)?;
        if let Some(y) = self.fused(b, name, [x, &routing_weights], hidden)? {
            return Ok(y);
        }
        let shape = b.graph.node("Shape").input(x).output();
        let mut sum = b.graph.node("ConstantOfShape").input(&shape).output();
        for expert in 0..self.count {
            let graph = &mut b.graph;
            let [number, none] = [graph.int64_scalar(expert as i64), graph.scalar(0.0)];
            let axis = graph.int64s(&[0]);
            let gate =
                graph.node("Gather").inputs([&routing_weights, &number]).int("axis", 1).output();
            let mask = graph.node("Greater").inputs([&gate, &none]).output();
            let any = graph.node("Cast").input(&mask).int("to", Int32 as i64).output();
            let any = graph.node("ReduceMax").inputs([&any, &axis]).output();
            let any = graph.node("Cast").input(&any).int("to", Bool as i64).output();
            // Inside the branch, the weights of an expert that no token chose are not read.
            let outside = graph.begin_branch("chosen");
            let rows = graph.node("Compress").inputs([x, &mask]).int("axis", 0).output();
            let rows = self.feed_forward.apply(b, &expert_name(name, expert), &rows, hidden)?;
            let graph = &mut b.graph;
            let last = graph.int64s(&[1]);
            let gate = graph.node("Compress").inputs([&gate, &mask]).int("axis", 0).output();
            let gate = graph.node("Unsqueeze").inputs([&gate, &last]).output();
            let rows = graph.node("Mul").inputs([&rows, &gate]).output();
            let indices = graph.node("NonZero").input(&mask).output();
            let indices = graph.node("Transpose").input(&indices).ints("perm", &[1, 0]).output();
            let node = graph.node("ScatterND").inputs([&sum, &indices, &rows]);
            let with = node.string("reduction", "add").output();
            let chosen = graph.end_branch(outside, &[with]);
            let outside = graph.begin_branch("passed_over");
            let without = graph.end_branch(outside, std::slice::from_ref(&sum));
            let node = graph.node("If").input(&any);
            sum = node.branch("then_branch", chosen).branch("else_branch", without).output();
        }
        Ok(sum)
    }

    /// Computes all experts in one operator, if there is one for them.
    fn fused(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        [x, routing_weights]: [&Value; 2],
        hidden: usize,
    ) -> Result<Option<Value>> {
        let FeedForward { activation, names, .. } = self.feed_forward;
        let (Some(activation), FeedForwardNames::Plain(_), false) =
            (activation.fused(), names, b.is_portable())
        else {
            return Ok(None);
        };
        let mut layers = Vec::new();
        for expert in 0..self.count {
            layers.extend(self.feed_forward.layers(b, &expert_name(name, expert), hidden)?);
        }
        Ok(Matrix::feed_forward(b, x, Some(routing_weights), &layers, activation))
    }

    /// Routing weights, `[rows, experts]`: the factor of each expert's result, 0 if the token is
    /// not routed to it. The router is computed in float32 in every precision.
    fn routing_weights(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let [weight, bias] = ["weight", "bias"].map(|p| format!("{name}.router.classifier.{p}"));
        let weight = Matrix::exact(b, &weight, (self.count, hidden))?;
        let bias = match b.weights.has(&bias) {
            true => Some(b.weight(&bias, &[self.count])?),
            false => None,
        };
        let logits = weight.product(b, x, bias.as_ref(), Activation::Identity);
        let probs = b.graph.node("Softmax").input(&logits).int("axis", -1).output();
        let chosen = self.choose(&mut b.graph, &probs);
        let routed = match (self.routing.capacity(), tokens) {
            (Some(capacity), Tokens::Source(inputs)) => {
                self.limit_capacity(b, &chosen, capacity, inputs)
            }
            _ => chosen.clone(),
        };
        let graph = &mut b.graph;
        let mut numbers = |masks: &[Value]| -> Vec<Value> {
            let cast = |mask| graph.node("Cast").input(mask).int("to", Float as i64).output();
            masks.iter().map(cast).collect()
        };
        let masks = numbers(&routed);
        let Routing::Two { normalize_before_dropping, factor, .. } = self.routing else {
            return Ok(graph.node("Mul").inputs([&probs, &masks[0]]).output());
        };
        let shared = match normalize_before_dropping {
            true => numbers(&chosen),
            false => masks.clone(),
        };
        let [last, min] = [graph.int64s(&[-1]), graph.scalar(f32::EPSILON)];
        let factor = graph.scalar(factor);
        let of_chosen: Vec<_> = shared
            .iter()
            .map(|mask| {
                let probs = graph.node("Mul").inputs([&probs, mask]).output();
                graph.node("ReduceSum").inputs([&probs, &last]).output()
            })
            .collect();
        let all = graph.node("Add").inputs(&of_chosen).output();
        let all = graph.node("Max").inputs([&all, &min]).output();
        let routing_weights: Vec<_> = of_chosen
            .iter()
            .zip(&masks)
            .map(|(probs, mask)| {
                let weight = graph.node("Div").inputs([probs, &all]).output();
                let weight = graph.node("Mul").inputs([&weight, &factor]).output();
                graph.node("Mul").inputs([&weight, mask]).output()
            })
            .collect();
        Ok(graph.node("Add").inputs(&routing_weights).output())
    }

    /// One-hot masks of the chosen experts, the most probable first: bool `[rows, experts]` each.
    fn choose(&self, graph: &mut Graph, probs: &Value) -> Vec<Value> {
        let numbers: Vec<i64> = (0..self.count as i64).collect();
        let numbers = graph.int64s(&numbers);
        let choices = self.routing.choices() as i64;
        let [count, last] = [graph.int64s(&[choices]), graph.int64s(&[-1])];
        let [_, best]: [Value; 2] =
            graph.node("TopK").inputs([probs, &count]).int("axis", -1).outputs();
        (0..choices)
            .map(|choice| {
                let number = graph.int64_scalar(choice);
                let node = graph.node("Gather").inputs([&best, &number]);
                let expert = node.int("axis", 1).output();
                let expert = graph.node("Unsqueeze").inputs([&expert, &last]).output();
                graph.node("Equal").inputs([&expert, &numbers]).output()
            })
            .collect()
    }

    /// Removes tokens beyond the capacity of their expert from the masks. Second choices are
    /// counted after all first choices.
    fn limit_capacity(
        &self,
        b: &mut Builder<'_, '_>,
        chosen: &[Value],
        capacity: Capacity,
        inputs: &EncoderInputs,
    ) -> Vec<Value> {
        let shape = inputs.with_size(b, self.count);
        let graph = &mut b.graph;
        let [axis, second] = [graph.int32s(&[1]), graph.int64s(&[1])];
        let flat = graph.int64s(&[-1, self.count as i64]);
        let mut before: Option<Value> = None;
        let mut limit: Option<Value> = None;
        chosen
            .iter()
            .map(|mask| {
                let taken = graph.node("Cast").input(mask).int("to", Int64 as i64).output();
                let taken = graph.node("Reshape").inputs([&taken, &shape]).output();
                let mut place = graph.node("CumSum").inputs([&taken, &axis]).output();
                if let Some(before) = &before {
                    place = graph.node("Add").inputs([&place, before]).output();
                }
                let limit = limit.get_or_insert_with(|| capacity.of(graph, &taken));
                let fits = graph.node("LessOrEqual").inputs([&place, limit]).output();
                let fits = graph.node("Reshape").inputs([&fits, &flat]).output();
                before = Some(graph.node("ReduceSum").inputs([&taken, &second]).output());
                graph.node("And").inputs([mask, &fits]).output()
            })
            .collect()
    }
}

/// Checkpoint prefix of an expert.
fn expert_name(name: &str, expert: usize) -> String {
    format!("{name}.experts.expert_{expert}")
}

impl Capacity {
    /// The capacity, int64 `[1]` or a scalar, for tokens of `[groups, tokens, experts]`.
    fn of(self, graph: &mut Graph, tokens: &Value) -> Value {
        match self {
            Self::Tokens(count) => graph.int64_scalar(count as i64),
            Self::Share(share) => {
                let share = graph.double_scalar(share);
                let count =
                    graph.node("Shape").input(tokens).int("start", 1).int("end", 2).output();
                let count = graph.node("Cast").input(&count).int("to", Double as i64).output();
                let count = graph.node("Mul").inputs([&count, &share]).output();
                let count = graph.node("Ceil").input(&count).output();
                graph.node("Cast").input(&count).int("to", Int64 as i64).output()
            }
        }
    }
}
