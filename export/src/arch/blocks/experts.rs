//! Feed-forward layers of which a router chooses one or two for each token.

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
    /// How many.
    pub(crate) count: usize,
    /// How tokens come to them.
    pub(crate) routing: Routing,
    /// The first layer that has experts.
    pub(crate) first: usize,
    /// Layers from one with experts to the next.
    pub(crate) step: usize,
    /// What each computes.
    pub(crate) feed_forward: FeedForward,
}

/// How tokens come to experts. Those of a source come together, and find experts full; those of a
/// summary come one by one, and do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Routing {
    /// Each to the likeliest, whose result is multiplied with its probability.
    First {
        /// Most tokens of a source that an expert takes.
        capacity: usize,
    },
    /// Each to the two likeliest, whose results are multiplied with their shares.
    Two {
        /// Most tokens of a source that an expert takes.
        capacity: Capacity,
        /// Whether an expert that is full keeps its share, which is lost then.
        shares_before_dropping: bool,
        /// What every result is multiplied with.
        factor: f32,
    },
}

/// Most tokens of a source that an expert takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capacity {
    /// So many.
    Tokens(usize),
    /// This share of them, rounded up.
    Share(f64),
}

impl Routing {
    /// How many experts a token has.
    fn choices(self) -> usize {
        match self {
            Self::First { .. } => 1,
            Self::Two { .. } => 2,
        }
    }

    /// Most tokens that an expert takes of a source, where there is a limit.
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

    /// `[rows, hidden]` to the same; `name` is what router and experts stand below.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let routing_weights = self.routing_weights(b, name, x, hidden, tokens)?;
        if let Some(y) = self.together(b, name, [x, &routing_weights], hidden)? {
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
            // The weights of an expert that nobody chose are not read.
            let outside = graph.begin_branch("chosen");
            let rows = graph.node("Compress").inputs([x, &mask]).int("axis", 0).output();
            let rows = self.feed_forward.apply(b, &expert_name(name, expert), &rows, hidden)?;
            let graph = &mut b.graph;
            let last = graph.int64s(&[1]);
            let gate = graph.node("Compress").inputs([&gate, &mask]).int("axis", 0).output();
            let gate = graph.node("Unsqueeze").inputs([&gate, &last]).output();
            let rows = graph.node("Mul").inputs([&rows, &gate]).output();
            let places = graph.node("NonZero").input(&mask).output();
            let places = graph.node("Transpose").input(&places).ints("perm", &[1, 0]).output();
            let node = graph.node("ScatterND").inputs([&sum, &places, &rows]);
            let with = node.string("reduction", "add").output();
            let chosen = graph.end_branch(outside, &[with]);
            let outside = graph.begin_branch("passed_over");
            let without = graph.end_branch(outside, std::slice::from_ref(&sum));
            let node = graph.node("If").input(&any);
            sum = node.branch("then_branch", chosen).branch("else_branch", without).output();
        }
        Ok(sum)
    }

    /// All experts in one operator, where there is one.
    fn together(
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

    /// What each expert's result is multiplied with for each token, `[rows, experts]`: 0 for those
    /// that it is not routed to. The router is computed in float32, whatever the precision.
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
        let chosen = self.chosen(&mut b.graph, &probs);
        let routed = match (self.routing.capacity(), tokens) {
            (Some(capacity), Tokens::Source(inputs)) => self.within(b, &chosen, capacity, inputs),
            _ => chosen.clone(),
        };
        let graph = &mut b.graph;
        let mut numbers = |masks: &[Value]| -> Vec<Value> {
            let cast = |mask| graph.node("Cast").input(mask).int("to", Float as i64).output();
            masks.iter().map(cast).collect()
        };
        let masks = numbers(&routed);
        let Routing::Two { shares_before_dropping, factor, .. } = self.routing else {
            return Ok(graph.node("Mul").inputs([&probs, &masks[0]]).output());
        };
        let shared = match shares_before_dropping {
            true => numbers(&chosen),
            false => masks.clone(),
        };
        let [last, least] = [graph.int64s(&[-1]), graph.scalar(f32::EPSILON)];
        let factor = graph.scalar(factor);
        let of_chosen: Vec<_> = shared
            .iter()
            .map(|mask| {
                let probs = graph.node("Mul").inputs([&probs, mask]).output();
                graph.node("ReduceSum").inputs([&probs, &last]).output()
            })
            .collect();
        let all = graph.node("Add").inputs(&of_chosen).output();
        let all = graph.node("Max").inputs([&all, &least]).output();
        let routing_weights: Vec<_> = of_chosen
            .iter()
            .zip(&masks)
            .map(|(probs, mask)| {
                let share = graph.node("Div").inputs([probs, &all]).output();
                let share = graph.node("Mul").inputs([&share, &factor]).output();
                graph.node("Mul").inputs([&share, mask]).output()
            })
            .collect();
        Ok(graph.node("Add").inputs(&routing_weights).output())
    }

    /// For each choice, the likeliest first, which expert it is: bool `[rows, experts]`.
    fn chosen(&self, graph: &mut Graph, probs: &Value) -> Vec<Value> {
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

    /// The same, but for tokens before which an expert has taken all that it can. Second choices
    /// come after all first ones.
    fn within(
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

/// What the layers of an expert stand below.
fn expert_name(name: &str, expert: usize) -> String {
    format!("{name}.experts.expert_{expert}")
}

impl Capacity {
    /// The number, int64 `[1]` or a scalar, for tokens of `[groups, tokens, experts]`.
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
