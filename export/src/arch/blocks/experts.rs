//! Feed-forward layers of which a router chooses one for each token.

use super::activation::Activation;
use super::feed_forward::FeedForward;
use super::inputs::EncoderInputs;
use super::matrix::Matrix;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::{Bool, Int32, Int64};

/// The experts of some layers of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experts {
    /// How many.
    pub(crate) count: usize,
    /// Most tokens of a source that an expert takes; those behind are passed over.
    pub(crate) capacity: usize,
    /// Experts are in layers 1, 1 + step, 1 + 2 * step and so on; in all of them where it is 1.
    pub(crate) step: usize,
    /// What each computes.
    pub(crate) feed_forward: FeedForward,
}

impl Experts {
    /// Whether a layer has experts.
    pub(crate) fn are_in(&self, layer: usize) -> bool {
        self.step == 1 || layer % self.step == 1
    }

    /// `[rows, hidden]` to the same; `name` is what router and experts stand below. A summary's
    /// tokens come one by one, and no expert is full; a source's come together.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
        source: Option<&EncoderInputs>,
    ) -> Result<Value> {
        let (chosen, share) = self.route(b, name, x, hidden)?;
        let chosen = match source {
            Some(inputs) => self.within_capacity(b, &chosen, inputs),
            None => chosen,
        };
        let shape = b.graph.node("Shape").input(x).output();
        let mut sum = b.graph.node("ConstantOfShape").input(&shape).output();
        for expert in 0..self.count {
            let graph = &mut b.graph;
            let (number, zero) = (graph.int64_scalar(expert as i64), graph.int64s(&[0]));
            let mask = graph.node("Equal").inputs([&chosen, &number]).output();
            let any = graph.node("Cast").input(&mask).int("to", Int32 as i64).output();
            let any = graph.node("ReduceMax").inputs([&any, &zero]).output();
            let any = graph.node("Cast").input(&any).int("to", Bool as i64).output();
            // The weights of an expert that nobody chose are not read.
            let outside = graph.begin_branch("chosen");
            let rows = graph.node("Compress").inputs([x, &mask]).int("axis", 0).output();
            let name = format!("{name}.experts.expert_{expert}");
            let rows = self.feed_forward.apply(b, &name, &rows, hidden)?;
            let graph = &mut b.graph;
            let places = graph.node("NonZero").input(&mask).output();
            let places = graph.node("Transpose").input(&places).ints("perm", &[1, 0]).output();
            let with = graph.node("ScatterND").inputs([&sum, &places, &rows]).output();
            let chosen = graph.end_branch(outside, &[with]);
            let outside = graph.begin_branch("passed_over");
            let without = graph.end_branch(outside, std::slice::from_ref(&sum));
            let node = graph.node("If").input(&any);
            sum = node.branch("then_branch", chosen).branch("else_branch", without).output();
        }
        Ok(b.graph.node("Mul").inputs([&sum, &share]).output())
    }

    /// The expert of each token, int64 `[rows]`, and its probability, `[rows, 1]`. The router is
    /// computed in float32, whatever the precision.
    fn route(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        x: &Value,
        hidden: usize,
    ) -> Result<(Value, Value)> {
        let [weight, bias] = ["weight", "bias"].map(|p| format!("{name}.router.classifier.{p}"));
        let weight = Matrix::exact(b, &weight, (self.count, hidden))?;
        let bias = match b.weights.has(&bias) {
            true => Some(b.weight(&bias, &[self.count])?),
            false => None,
        };
        let logits = weight.product(b, x, bias.as_ref(), Activation::Identity);
        let graph = &mut b.graph;
        let last = graph.int64s(&[-1]);
        let probs = graph.node("Softmax").input(&logits).int("axis", -1).output();
        let node = graph.node("ArgMax").input(&probs).int("axis", -1);
        let chosen = node.int("keepdims", 0).output();
        let share = graph.node("ReduceMax").inputs([&probs, &last]).output();
        Ok((chosen, share))
    }

    /// The same, with -1 for a token before which its expert has taken all that it can of a source.
    fn within_capacity(
        &self,
        b: &mut Builder<'_, '_>,
        chosen: &Value,
        inputs: &EncoderInputs,
    ) -> Value {
        let shape = inputs.with_size(b, self.count);
        let graph = &mut b.graph;
        let numbers: Vec<i64> = (0..self.count as i64).collect();
        let [numbers, last] = [graph.int64s(&numbers), graph.int64s(&[-1])];
        let [capacity, nobody] = [self.capacity as i64, -1].map(|value| graph.int64_scalar(value));
        let flat = graph.int64s(&[-1]);
        let axis = graph.int32s(&[1]);
        let rows = graph.node("Unsqueeze").inputs([chosen, &last]).output();
        let taken = graph.node("Equal").inputs([&rows, &numbers]).output();
        let taken = graph.node("Cast").input(&taken).int("to", Int64 as i64).output();
        let taken = graph.node("Reshape").inputs([&taken, &shape]).output();
        let place = graph.node("CumSum").inputs([&taken, &axis]).output();
        let place = graph.node("Mul").inputs([&place, &taken]).output();
        let node = graph.node("ReduceMax").inputs([&place, &last]).int("keepdims", 0);
        let place = node.output();
        let place = graph.node("Reshape").inputs([&place, &flat]).output();
        let full = graph.node("Greater").inputs([&place, &capacity]).output();
        graph.node("Where").inputs([&full, &nobody, chosen]).output()
    }
}
