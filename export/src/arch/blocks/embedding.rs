//! Embedding tables: those that map tokens to vectors, and the one that maps vectors back.

use super::matrix::Matrix;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// The embedding tables of a model that are tied, all of `[vocab, hidden]`.
///
/// transformers 4 stores a tied table under each of its names, transformers 5 under the first; and
/// a table that differs from the others is not tied, whatever config.json says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiedTables {
    /// Checkpoint names, the leading one first: what a table's own name lacks is taken from there.
    pub(crate) names: &'static [&'static str],
    /// Tokens.
    pub(crate) vocab_size: usize,
    /// Size of a vector.
    pub(crate) hidden: usize,
}

impl TiedTables {
    /// The table `name`, which need not be in the checkpoint.
    pub(crate) fn table(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Matrix> {
        let dims = (self.vocab_size, self.hidden);
        let leading = self.names[0];
        // A checkpoint that lacks it has the table under another name, and gives the same graphs.
        if let Some(found) = self.names.iter().find(|name| b.weights.has(name)) {
            b.weights.read_as(leading, found);
        }
        if b.weights.same_values(name, leading) || !b.weights.has(name) {
            let table = Matrix::table(b, leading, dims)?;
            b.weights.pass_over(&[name]);
            return Ok(table);
        }
        Matrix::table(b, name, dims)
    }
}

/// Embedded tokens, multiplied with `scale` where there is one: `ids` of `[rows, columns]` to
/// `[rows, columns, hidden]`.
pub(crate) fn embed(
    b: &mut Builder<'_, '_>,
    table: &Matrix,
    ids: &Value,
    scale: Option<f32>,
) -> Value {
    let embedded = table.rows(b, ids);
    match scale {
        Some(scale) => {
            let scale = b.graph.scalar(scale);
            b.graph.node("Mul").inputs([&embedded, &scale]).output()
        }
        None => embedded,
    }
}
