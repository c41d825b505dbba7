//! ProphetNet's predicting stream: each token has a second hidden state, which does not know the
//! token, and from which the next token is predicted.
//!
//! The stream behaves like a token behind the newest: its position is the next one, and it attends
//! to all tokens up to the newest and to itself. No token attends to it, and the cache does not
//! keep it. The hidden states of a token and of its stream are successive rows, so that all layers
//! but self-attention treat them as two tokens.
//!
//! The relative bias of self-attention depends on the hidden state: a linear layer computes a value
//! for each bucket of distances and each head.

use super::embedding::Embedding;
use super::heads::{Heads, flatten};
use super::inputs::DecoderInputs;
use super::positions::{PositionKind, PositionTable};
use super::relative_bias::LARGEST_DISTANCE;
use super::streams::{STREAMS, Streams};
use crate::arch::builder::Builder;
use crate::arch::config::{ModelConfig, wrong};
use crate::error::Result;
use crate::onnx::graph::Value;

/// The stream that predicts the next token, and the relative bias of tokens and stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PredictingStream {
    /// Checkpoint name of the streams' embedding table. Its last row belongs to this stream.
    pub(crate) table: &'static str,
    /// Number of its rows. The others predict later tokens, which only training needs.
    pub(crate) ngram: usize,
    /// Number of buckets of distances.
    buckets: usize,
    /// Distances from here on share the last bucket.
    max_distance: usize,
    /// Heads of the decoder's attention.
    heads: Heads,
}

impl PredictingStream {
    /// Reads the stream from `config`.
    pub(crate) fn from_config(
        config: &ModelConfig,
        table: &'static str,
        heads: Heads,
    ) -> Result<Self> {
        let (buckets_field, distance_field) = ("num_buckets", "relative_max_distance");
        let buckets = config.size_or(buckets_field, 32)?;
        let max_distance = config.size_or(distance_field, 128)?;
        if buckets < 2 {
            return Err(wrong(buckets_field, format_args!("is {buckets}, but must be at least 2")));
        }
        let exact = buckets / 2;
        if max_distance <= exact || max_distance > LARGEST_DISTANCE {
            return Err(wrong(
                distance_field,
                format_args!(
                    "is {max_distance}, but must be above half of {buckets_field} ({exact}) and \
                     not above {LARGEST_DISTANCE}"
                ),
            ));
        }
        Ok(Self { table, ngram: config.size_or("ngram", 2)?, buckets, max_distance, heads })
    }

    /// The bucket of a token `distance` tokens back.
    ///
    /// Agrees with `compute_relative_buckets` in
    /// `transformers/models/prophetnet/modeling_prophetnet.py`, which computes in float32.
    fn bucket(&self, distance: usize) -> usize {
        let exact = self.buckets / 2;
        if distance < exact {
            return distance;
        }
        let share = (distance as f32 / exact as f32).ln()
            / ((self.max_distance as f64 / exact as f64).ln() as f32);
        let far = exact as f32 + share * (self.buckets - exact) as f32;
        (far as usize).min(self.buckets - 1)
    }

    /// Adds the rows of the stream to the embedded tokens `x`, `[batch * columns, hidden]`, which
    /// `embedding` computed: `[batch * columns * 2, hidden]`. Updates `inputs` for it.
    pub(crate) fn add_rows(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        embedding: &Embedding,
        inputs: &mut DecoderInputs,
    ) -> Result<Value> {
        let hidden = embedding.size;
        let values = b.weights.values(self.table, &[self.ngram, hidden])?;
        let last = || values[(self.ngram - 1) * hidden..].to_vec();
        let mut stream = b.computed(&format!("{}/last", self.table), &[hidden], last)?;
        if let Some((name, table)) = &embedding.positions {
            let next = next_positions(*table).of_step(b, name, inputs)?;
            stream = b.graph.node("Add").inputs([&next, &stream]).output();
        }
        stream = flatten(b, &stream, hidden);
        if let Some(norm) = &embedding.norm {
            stream = norm.norm.apply(b, &norm.name, &stream)?;
        }
        let shape = b.graph.shape(&inputs.shape, &[hidden as i64]);
        let between = b.graph.int64s(&[2]);
        let x = b.graph.node("Reshape").inputs([x, &shape]).output();
        // In the portable layout all documents have the same positions.
        let spread = if b.is_portable() { "Expand" } else { "Reshape" };
        let stream = b.graph.node(spread).inputs([&stream, &shape]).output();
        let both = [x, stream].map(|part| {
            let node = b.graph.node("Unsqueeze").inputs([&part, &between]);
            node.output()
        });
        let both = b.graph.node("Concat").inputs(&both).int("axis", 2).output();
        let x = flatten(b, &both, hidden);
        inputs.streams = Some(self.of_step(b, inputs));
        let factors = b.graph.int64s(&[1, STREAMS as i64]);
        inputs.states = b.graph.node("Mul").inputs([&inputs.shape, &factors]).output();
        if !b.is_portable() {
            // Each document has `STREAMS` times its rows.
            let factors = b.graph.int32s(&[STREAMS as i32, 1, 1]);
            inputs.source = b.graph.node("Mul").inputs([&inputs.source, &factors]).output();
        }
        Ok(x)
    }

    fn of_step(&self, b: &mut Builder<'_, '_>, inputs: &DecoderInputs) -> Streams {
        let heads = self.heads.count as i64;
        let (new, total) = inputs.new_and_longest(b);
        let portable = b.is_portable();
        let graph = &mut b.graph;
        graph.enter("streams");
        let [one, two] = [graph.int64s(&[1]), graph.int64s(&[2])];
        let keys = graph.range(&total);
        // Positions of both streams of each new token: `[rows or columns, streams, 1]`.
        let streams = graph.int64s(&[0, 1]);
        let positions = graph.node("Add").inputs([&new, &streams]).output();
        let positions = graph.node("Unsqueeze").inputs([&positions, &two]).output();
        let distances = graph.node("Sub").inputs([&positions, &keys]).output();
        let (near, far) = (graph.int64_scalar(0), graph.int64_scalar(self.max_distance as i64));
        let known = graph.node("Clip").inputs([&distances, &near, &far]).output();
        // The distance of a row to its own key is 0.
        let own = graph.int64s(&[0, 0, 0, 0, 0, 1]);
        let known = graph.node("Pad").inputs([&known, &own, &near]).output();
        let table: Vec<_> = (0..=self.max_distance).map(|d| self.bucket(d) as i64).collect();
        let table = graph.int64_table("bucket_of_distance", &table);
        let buckets = graph.node("Gather").inputs([&table, &known]).output();
        // All heads have the same buckets, and in the portable layout all documents.
        let buckets = graph.node("Unsqueeze").inputs([&buckets, &two]).output();
        let shape = match portable {
            true => graph.shape(&inputs.shape, &[STREAMS as i64, heads, 1]),
            false => graph.int64s(&[1, 1, heads, 1]),
        };
        let buckets = graph.node("Expand").inputs([&buckets, &shape]).output();
        let leading = graph.int64s(&[-1, heads]);
        let width = graph.node("Add").inputs([&total, &one]).output();
        let shape = graph.node("Concat").inputs([&leading, &width]).int("axis", 0).output();
        let buckets = graph.node("Reshape").inputs([&buckets, &shape]).output();
        graph.leave();
        Streams { buckets, count: self.buckets, distances, total }
    }
}

/// The table that gives the position behind each token: one row further.
fn next_positions(table: PositionTable) -> PositionTable {
    let kind = match table.kind {
        PositionKind::LearnedToEnd { offset } => PositionKind::LearnedToEnd { offset: offset + 1 },
        other => other,
    };
    PositionTable { kind, ..table }
}

#[cfg(test)]
mod tests {
    use super::{Heads, PredictingStream};

    #[test]
    fn buckets_are_those_of_transformers() {
        let bucket = |buckets, max_distance, distance| {
            let heads = Heads { count: 1, size: 1 };
            PredictingStream { table: "", ngram: 1, buckets, max_distance, heads }.bucket(distance)
        };
        let found = |buckets, max_distance, distances: &[usize]| -> Vec<usize> {
            distances.iter().map(|&distance| bucket(buckets, max_distance, distance)).collect()
        };
        let distances = [0, 1, 15, 16, 18, 19, 20, 21, 23, 24, 63, 64, 112, 113, 500];
        assert_eq!(
            found(32, 128, &distances),
            [0, 1, 15, 16, 16, 17, 17, 18, 18, 19, 26, 26, 30, 31, 31]
        );
        assert_eq!(found(5, 7, &[0, 1, 2, 3, 4, 5, 6, 7]), [0, 1, 2, 2, 3, 4, 4, 4]);
    }
}
