//! Positions that are added to the embedded tokens.

use epitome_runtime::kernels::sinusoid::Sinusoids;
use epitome_runtime::operators::positions;

use super::inputs::{DecoderInputs, EncoderInputs};
use crate::arch::builder::Builder;
use crate::arch::config::wrong;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::Int64;

/// Kind of a position table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionKind {
    /// A trained table; position 0 is in row `offset`.
    Learned {
        /// Rows before position 0: 2 in BART and its descendants, whose tables reserve rows for
        /// padding.
        offset: usize,
    },
    /// A trained table with a row for each position. Position 0 is in row `offset`, and positions
    /// beyond the table use its last row (ProphetNet).
    LearnedToEnd {
        /// Rows before position 0.
        offset: usize,
    },
    /// A trained table whose positions are counted as in [`Self::Counted`] (RoBERTa).
    LearnedCounted {
        /// `pad_token_id`.
        padding: u32,
    },
    /// [`sinusoidal`], or the table of the checkpoint if it has one, which differs in half
    /// precision.
    Sinusoidal,
    /// fairseq's sinusoids, without a limit. They are never read from the checkpoint.
    Computed,
    /// fairseq's sinusoids, without a limit. The position of a token is the number of tokens up to
    /// it that are not `padding`. Padding has zeros, wherever it occurs. A table in the checkpoint
    /// holds the first positions.
    Counted {
        /// `pad_token_id`.
        padding: u32,
    },
}

impl PositionKind {
    /// Whether the number of positions is unlimited.
    pub(crate) fn is_endless(self) -> bool {
        matches!(self, Self::Computed | Self::Counted { .. })
    }
}

/// The position table of one stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionTable {
    /// Kind of the table.
    pub(crate) kind: PositionKind,
    /// Number of positions.
    pub(crate) positions: usize,
    /// Size of a hidden state.
    pub(crate) hidden: usize,
}

/// Keys of the computed tables in the weight file.
const SINUSOIDAL: &str = "embed_positions.weight";
const FAIRSEQ: &str = "embed_positions.weights";
/// Size limit in bytes of a computed table, for models of any size.
const SMALL_TABLE: u64 = 64 << 20;

impl PositionTable {
    /// Embedded positions of a source: `[source, hidden]` or `[batch, source, hidden]`. `name` is
    /// the checkpoint prefix of the table.
    pub(crate) fn of_source(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        match self.kind {
            PositionKind::Counted { padding } | PositionKind::LearnedCounted { padding } => {
                let mask = not_padding(b, &inputs.input_ids, padding);
                let axis = b.graph.int32s(&[1]);
                let count = b.graph.node("CumSum").inputs([&mask, &axis]).output();
                let rows = counted(b, &count, &mask, padding);
                self.counted(b, name, &rows)
            }
            PositionKind::LearnedToEnd { offset } => {
                let positions = b.graph.range(&inputs.source_length);
                self.clamped(b, name, (&positions, offset))
            }
            PositionKind::Computed => {
                let rows = b.graph.range(&inputs.source_length);
                self.computed(b, name, &rows)
            }
            PositionKind::Learned { .. } | PositionKind::Sinusoidal => {
                let table = self.table(b, name)?;
                let graph = &mut b.graph;
                let first = self.offset();
                let [from, axis] = [graph.int64s(&[first]), graph.int64s(&[0])];
                let to = match first {
                    0 => inputs.source_length.clone(),
                    _ => graph.node("Add").inputs([&inputs.source_length, &from]).output(),
                };
                Ok(graph.node("Slice").inputs([&table, &from, &to, &axis]).output())
            }
        }
    }

    /// Embedded positions of the newest tokens: `[1 or columns, hidden]` or
    /// `[batch, columns, hidden]`.
    pub(crate) fn of_step(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        inputs: &DecoderInputs,
    ) -> Result<Value> {
        let int64 = |b: &mut Builder<'_, '_>| {
            let node = b.graph.node("Cast").input(&inputs.positions);
            node.int("to", Int64 as i64).output()
        };
        match self.kind {
            PositionKind::Counted { padding } | PositionKind::LearnedCounted { padding } => {
                // As in transformers with a cache, all past tokens count, padding too.
                let mask = not_padding(b, &inputs.input_ids, padding);
                let past = int64(b);
                let count = b.graph.node("Add").inputs([&mask, &past]).output();
                let rows = counted(b, &count, &mask, padding);
                self.counted(b, name, &rows)
            }
            PositionKind::LearnedToEnd { offset } => {
                let positions = int64(b);
                self.clamped(b, name, (&positions, offset))
            }
            PositionKind::Computed => {
                let rows = int64(b);
                self.computed(b, name, &rows)
            }
            PositionKind::Learned { .. } | PositionKind::Sinusoidal => {
                let table = self.table(b, name)?;
                let position = match self.offset() {
                    0 => inputs.positions.clone(),
                    offset => {
                        let offset = b.graph.int32s(&[offset as i32]);
                        let node = b.graph.node("Add");
                        node.inputs([&inputs.positions, &offset]).output()
                    }
                };
                Ok(b.graph.node("Gather").inputs([&table, &position]).output())
            }
        }
    }

    /// Looks up `positions`, int64 of any shape: float32 `[.., hidden]`. Positions beyond the table
    /// use its last row.
    fn clamped(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        (positions, offset): (&Value, usize),
    ) -> Result<Value> {
        let table = self.table(b, name)?;
        let graph = &mut b.graph;
        let [first, last] = [offset, self.positions - 1].map(|row| row as i64);
        let [first, last] = [graph.int64_scalar(first), graph.int64_scalar(last)];
        let rows = graph.node("Add").inputs([positions, &first]).output();
        let rows = graph.node("Min").inputs([&rows, &last]).output();
        Ok(graph.node("Gather").inputs([&table, &rows]).output())
    }

    fn offset(&self) -> i64 {
        match self.kind {
            PositionKind::Learned { offset } => offset as i64,
            PositionKind::LearnedCounted { padding } => i64::from(padding) + 1,
            _ => 0,
        }
    }

    /// Looks up the counted `rows`, int64 of any shape: float32 `[.., hidden]`.
    fn counted(&self, b: &mut Builder<'_, '_>, name: &str, rows: &Value) -> Result<Value> {
        if matches!(self.kind, PositionKind::Counted { .. }) {
            return self.computed(b, name, rows);
        }
        let table = self.table(b, name)?;
        Ok(b.graph.node("Gather").inputs([&table, rows]).output())
    }

    /// The table of a kind with limited positions.
    fn table(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Value> {
        let weight = format!("{name}.weight");
        let (rows, hidden) = (self.positions + self.offset() as usize, self.hidden);
        if self.kind == PositionKind::Sinusoidal && !b.weights.has(&weight) {
            return self.computed_table(b, SINUSOIDAL, rows, || sinusoidal(rows, hidden));
        }
        b.weight(&weight, &[rows, hidden])
    }

    /// fairseq's sinusoids of the positions `rows`, int64 of any shape: float32 `[.., hidden]`. In
    /// a bundle an operator computes them without a limit. The portable layout has a table.
    fn computed(&self, b: &mut Builder<'_, '_>, name: &str, rows: &Value) -> Result<Value> {
        let [weight, weights] = ["weight", "weights"].map(|part| format!("{name}.{part}"));
        let (padding, hidden) = (self.padding(), self.hidden);
        let count = self.positions + padding.map_or(0, |padding| padding as usize + 1);
        // FSMT's checkpoints hold the first positions, which differ in half precision.
        let stored = match padding.is_some() && b.weights.has(&weight) {
            true => Some(b.weight(&weight, &[count, hidden])?),
            false => None,
        };
        // transformers ignores the tables that other checkpoints hold.
        b.weights.pass_over(&[&weight, &weights]);
        if b.is_portable() {
            let table = match stored {
                Some(stored) => stored,
                None => self.computed_table(b, FAIRSEQ, count, || {
                    fairseq_sinusoidal(count, hidden, padding)
                })?,
            };
            return Ok(b.graph.node("Gather").inputs([&table, rows]).output());
        }
        Ok(b.graph
            .custom(positions::NAME)
            .input(rows)
            .optional(stored.as_ref())
            .int(positions::SIZE, hidden as i64)
            .int(positions::PADDING, padding.map_or(-1, i64::from))
            .output())
    }

    fn padding(&self) -> Option<u32> {
        match self.kind {
            PositionKind::Counted { padding } => Some(padding),
            _ => None,
        }
    }

    /// A computed table of `rows`, unless it is larger than the model.
    fn computed_table(
        &self,
        b: &mut Builder<'_, '_>,
        key: &str,
        rows: usize,
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Value> {
        let bytes = 4 * (rows as u64) * (self.hidden as u64);
        if bytes > b.weights.total_bytes().max(SMALL_TABLE) {
            let positions = self.positions;
            return Err(wrong(
                "max_position_embeddings",
                format_args!(
                    "is {positions}, which makes a table of {} MB: more than all weights",
                    bytes >> 20
                ),
            ));
        }
        b.computed(key, &[rows, self.hidden], values)
    }
}

/// int64 of the shape of `ids`: 0 for padding, 1 for any other token.
fn not_padding(b: &mut Builder<'_, '_>, ids: &Value, padding: u32) -> Value {
    let padding = b.graph.int64s(&[i64::from(padding)]);
    let equal = b.graph.node("Equal").inputs([ids, &padding]).output();
    let other = b.graph.node("Not").input(&equal).output();
    b.graph.node("Cast").input(&other).int("to", Int64 as i64).output()
}

/// Positions of tokens: `count * mask + padding`.
fn counted(b: &mut Builder<'_, '_>, count: &Value, mask: &Value, padding: u32) -> Value {
    let first = b.graph.int64s(&[i64::from(padding)]);
    let count = b.graph.node("Mul").inputs([count, mask]).output();
    b.graph.node("Add").inputs([&count, &first]).output()
}

/// The sinusoidal table of `[positions, hidden]` that PEGASUS and Marian compute: sines in the
/// first half of a row, cosines in the second (not interleaved).
///
/// Agrees with `PegasusSinusoidalPositionalEmbedding` in
/// `transformers/models/pegasus/modeling_pegasus.py`, which computes in float64 and rounds once.
fn sinusoidal(positions: usize, hidden: usize) -> Vec<f32> {
    let sines = hidden.div_ceil(2);
    let angle = |position: usize, index: usize| {
        position as f64 / 10_000f64.powf(2.0 * (index / 2) as f64 / hidden as f64)
    };
    let mut table = Vec::with_capacity(positions * hidden);
    for position in 0..positions {
        // The columns of the angle matrix alternate: even ones are for sines, odd ones for cosines.
        table.extend((0..sines).map(|column| angle(position, 2 * column).sin() as f32));
        table
            .extend((0..hidden - sines).map(|column| angle(position, 2 * column + 1).cos() as f32));
    }
    table
}

/// The table of fairseq's sinusoids, `[rows, hidden]`. The row `padding`, if there is one, is zero.
fn fairseq_sinusoidal(rows: usize, hidden: usize, padding: Option<u32>) -> Vec<f32> {
    let sinusoids = Sinusoids::new(hidden);
    let mut table = vec![0.0; rows * hidden];
    for (position, row) in table.chunks_exact_mut(hidden).enumerate() {
        if padding != Some(position as u32) {
            sinusoids.write(position, row);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{fairseq_sinusoidal, sinusoidal};

    #[test]
    fn the_first_row_is_zeros_then_ones_and_odd_sizes_have_one_sine_more() {
        assert_eq!(sinusoidal(1, 5), [0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_row_holds_sines_then_cosines_of_falling_frequency() {
        let row = &sinusoidal(4, 4)[12..];
        let (fast, slow) = (3f64, 3f64 / 100.0);
        assert_eq!(
            row,
            [fast.sin() as f32, slow.sin() as f32, fast.cos() as f32, slow.cos() as f32]
        );
    }

    #[test]
    fn the_row_of_padding_is_zeros_and_others_are_not() {
        let table = fairseq_sinusoidal(3, 4, Some(1));
        assert_eq!(table[4..8], [0.0; 4]);
        assert!(table[8..].iter().all(|value| *value != 0.0));
    }
}
