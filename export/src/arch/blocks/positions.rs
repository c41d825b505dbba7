//! Positions that are added to the embedded tokens.

use super::inputs::{DecoderInputs, EncoderInputs};
use crate::arch::builder::Builder;
use crate::arch::config::wrong;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::Int64;

/// Where positions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionKind {
    /// A trained table; position 0 is in row `offset`.
    Learned {
        /// Rows before that of position 0: 2 in what descends from BART, whose tables kept room for
        /// padding.
        offset: usize,
    },
    /// [`sinusoidal`], or the checkpoint's own table where it holds one, which matters for one
    /// saved in half precision.
    Sinusoidal,
    /// [`fairseq_sinusoidal`] without padding, never read from the checkpoint.
    Computed,
    /// [`fairseq_sinusoidal`], or the checkpoint's own table where it holds one, at the count of
    /// tokens up to here that are not `padding`; `padding` itself has a row of its own (zeros, in
    /// the computed table), even where it stands among the others.
    Counted {
        /// `pad_token_id`.
        padding: u32,
    },
}

/// The position table of one stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionTable {
    /// What the table holds.
    pub(crate) kind: PositionKind,
    /// Positions it is for.
    pub(crate) positions: usize,
    /// Size of a hidden state.
    pub(crate) hidden: usize,
}

/// Keys of the computed tables in the weight file.
const SINUSOIDAL: &str = "embed_positions.weight";
const FAIRSEQ: &str = "embed_positions.weights";
/// Bytes of a computed table that any model may have.
const SMALL_TABLE: u64 = 64 << 20;

impl PositionTable {
    /// The positions of a source: `[source, hidden]` or `[batch, source, hidden]`. `name` is the
    /// checkpoint prefix of the table.
    pub(crate) fn of_source(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        let table = self.table(b, name)?;
        let graph = &mut b.graph;
        if let PositionKind::Counted { padding } = self.kind {
            let mask = not_padding(b, &inputs.input_ids, padding);
            let axis = b.graph.int32s(&[1]);
            let count = b.graph.node("CumSum").inputs([&mask, &axis]).output();
            return Ok(counted(b, &table, &count, &mask, padding));
        }
        let first = self.offset();
        let [from, axis] = [graph.int64s(&[first]), graph.int64s(&[0])];
        let to = match first {
            0 => inputs.source_length.clone(),
            _ => graph
                .node("Add")
                .inputs([&inputs.source_length, &from])
                .output(),
        };
        Ok(graph
            .node("Slice")
            .inputs([&table, &from, &to, &axis])
            .output())
    }

    /// The positions of the newest tokens: `[1 or columns, hidden]` or `[batch, columns, hidden]`.
    pub(crate) fn of_step(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        inputs: &DecoderInputs,
    ) -> Result<Value> {
        let table = self.table(b, name)?;
        if let PositionKind::Counted { padding } = self.kind {
            // As transformers does over a cache: the past counts whatever its tokens were.
            let mask = not_padding(b, &inputs.input_ids, padding);
            let past = b
                .graph
                .node("Cast")
                .input(&inputs.positions)
                .int("to", Int64 as i64)
                .output();
            let count = b.graph.node("Add").inputs([&mask, &past]).output();
            return Ok(counted(b, &table, &count, &mask, padding));
        }
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

    fn offset(&self) -> i64 {
        match self.kind {
            PositionKind::Learned { offset } => offset as i64,
            PositionKind::Sinusoidal | PositionKind::Computed | PositionKind::Counted { .. } => 0,
        }
    }

    fn table(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Value> {
        let weight = format!("{name}.weight");
        let (positions, hidden) = (self.positions, self.hidden);
        match self.kind {
            PositionKind::Learned { offset } => b.weight(&weight, &[positions + offset, hidden]),
            PositionKind::Sinusoidal if b.weights.has(&weight) => {
                b.weight(&weight, &[positions, hidden])
            }
            PositionKind::Sinusoidal => {
                self.computed(b, SINUSOIDAL, positions, || sinusoidal(positions, hidden))
            }
            PositionKind::Computed => self.computed(b, FAIRSEQ, positions, || {
                fairseq_sinusoidal(positions, hidden, None)
            }),
            PositionKind::Counted { padding } => {
                let rows = positions + padding as usize + 1;
                if b.weights.has(&weight) {
                    return b.weight(&weight, &[rows, hidden]);
                }
                // Old M2M100 checkpoints carry a table along; transformers computes it nevertheless.
                b.weights.pass_over(&[&format!("{name}.weights")]);
                self.computed(b, FAIRSEQ, rows, || {
                    fairseq_sinusoidal(rows, hidden, Some(padding as usize))
                })
            }
        }
    }

    /// A computed table of `rows`, unless it outweighs the model.
    fn computed(
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
    b.graph
        .node("Cast")
        .input(&other)
        .int("to", Int64 as i64)
        .output()
}

/// The rows at `count * mask + padding`.
fn counted(
    b: &mut Builder<'_, '_>,
    table: &Value,
    count: &Value,
    mask: &Value,
    padding: u32,
) -> Value {
    let first = b.graph.int64s(&[i64::from(padding)]);
    let count = b.graph.node("Mul").inputs([count, mask]).output();
    let row = b.graph.node("Add").inputs([&count, &first]).output();
    b.graph.node("Gather").inputs([table, &row]).output()
}

/// The sinusoidal table of `[positions, hidden]` that PEGASUS and Marian compute: sines in the
/// first half of a row, cosines in the second (not interleaved).
///
/// Agrees with `PegasusSinusoidalPositionalEmbedding` in
/// `transformers/models/pegasus/modeling_pegasus.py`, which computes in float64 and rounds once.
pub(crate) fn sinusoidal(positions: usize, hidden: usize) -> Vec<f32> {
    let sines = hidden.div_ceil(2);
    let angle = |position: usize, index: usize| {
        position as f64 / 10_000f64.powf(2.0 * (index / 2) as f64 / hidden as f64)
    };
    let mut table = Vec::with_capacity(positions * hidden);
    for position in 0..positions {
        // Columns of the angle matrix alternate: even ones go to the sines, odd ones to the
        // cosines.
        table.extend((0..sines).map(|column| angle(position, 2 * column).sin() as f32));
        table
            .extend((0..hidden - sines).map(|column| angle(position, 2 * column + 1).cos() as f32));
    }
    table
}

/// The sinusoidal table of `[rows, hidden]` that came from fairseq: sines in the first half of a
/// row, cosines in the second, a zero behind them where `hidden` is odd, and zeros for `padding`,
/// where there is one.
///
/// Agrees with `M2M100SinusoidalPositionalEmbedding` in
/// `transformers/models/m2m_100/modeling_m2m_100.py`, which computes in float32, as this does:
/// the rounding of an angle far down the table is larger than that of the result.
pub(crate) fn fairseq_sinusoidal(rows: usize, hidden: usize, padding: Option<usize>) -> Vec<f32> {
    let half = hidden / 2;
    let step = (10_000f64.ln() / half.saturating_sub(1).max(1) as f64) as f32;
    let frequencies: Vec<f32> = (0..half)
        .map(|column| (column as f32 * -step).exp())
        .collect();
    let mut table = vec![0.0; rows * hidden];
    for (row, values) in table.chunks_exact_mut(hidden).enumerate() {
        if Some(row) == padding {
            continue;
        }
        for (column, frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = (row as f32 * frequency).sin_cos();
            values[column] = sine;
            values[half + column] = cosine;
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
            [
                fast.sin() as f32,
                slow.sin() as f32,
                fast.cos() as f32,
                slow.cos() as f32
            ]
        );
    }

    #[test]
    fn fairseq_rows_are_zero_at_the_padding_and_in_an_odd_last_column() {
        let table = fairseq_sinusoidal(3, 5, Some(1));
        assert_eq!(table[..5], [0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(table[5..10], [0.0; 5]);
        let (fast, slow) = (2f32, 2f32 * (-(10_000f64.ln()) as f32).exp());
        assert_eq!(
            table[10..],
            [fast.sin(), slow.sin(), fast.cos(), slow.cos(), 0.0]
        );
    }
}
