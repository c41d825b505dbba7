//! Embedding tables: those that map tokens to vectors, and the one that maps vectors back.

use super::heads::flatten;
use super::inputs::Tokens;
use super::linear::linear;
use super::matrix::Matrix;
use super::norm::Norm;
use super::positions::PositionTable;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// The embedding tables of a model that are tied, all of `[vocab, hidden]`.
///
/// transformers 4 stores a tied table under each of its names, transformers 5 under the first; and
/// a table that differs from the others is not tied, whatever config.json says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiedTables<'a> {
    /// Checkpoint names, the leading one first: what a table's own name lacks is taken from there.
    pub(crate) names: &'a [&'static str],
    /// Tokens.
    pub(crate) vocab_size: usize,
    /// Size of a vector.
    pub(crate) hidden: usize,
}

impl TiedTables<'_> {
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

/// How tokens become what the first layer reads.
pub(crate) struct Embedding {
    /// Checkpoint name of the table.
    pub(crate) table: String,
    /// Tokens it has.
    pub(crate) vocab_size: usize,
    /// Size of a vector.
    pub(crate) size: usize,
    /// A factor for every vector.
    pub(crate) scale: Option<f32>,
    /// The token whose vector is another one, which has no factor: its checkpoint name.
    pub(crate) replaced: Option<(u32, String)>,
    /// A table of segments, of which all tokens are in the first: its checkpoint name, and how many
    /// there are.
    pub(crate) segments: Option<(String, usize)>,
    /// Positions that are added, and the checkpoint prefix of their table.
    pub(crate) positions: Option<(String, PositionTable)>,
    /// What is normalized, and how.
    pub(crate) norm: Option<TokenNorm>,
    /// A linear layer to the size of hidden states, where it is another: its checkpoint prefix and
    /// that size.
    pub(crate) projection: Option<(String, usize)>,
}

/// The norm before the first layer.
pub(crate) struct TokenNorm {
    /// Its checkpoint prefix.
    pub(crate) name: String,
    /// What it computes.
    pub(crate) norm: Norm,
    /// Whether positions are added behind it.
    pub(crate) before_positions: bool,
}

impl Embedding {
    /// A table of this checkpoint name, and nothing else.
    pub(crate) fn new(table: String, vocab_size: usize, size: usize) -> Self {
        Self {
            table,
            vocab_size,
            size,
            scale: None,
            replaced: None,
            segments: None,
            positions: None,
            norm: None,
            projection: None,
        }
    }

    /// Embedded tokens, `[rows * columns, hidden]`. `tables` are those that its own is tied to.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        tables: &[&'static str],
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let tables = TiedTables { names: tables, vocab_size: self.vocab_size, hidden: self.size };
        let table = tables.table(b, &self.table)?;
        let mut x = table.rows(b, tokens.ids());
        if let Some(scale) = self.scale {
            let scale = b.graph.scalar(scale);
            x = b.graph.node("Mul").inputs([&x, &scale]).output();
        }
        if let Some((token, name)) = &self.replaced {
            let vector = b.weight(name, &[self.size])?;
            let graph = &mut b.graph;
            let [token, last] = [graph.int64_scalar(i64::from(*token)), graph.int64s(&[-1])];
            let found = graph.node("Equal").inputs([tokens.ids(), &token]).output();
            let found = graph.node("Unsqueeze").inputs([&found, &last]).output();
            x = graph.node("Where").inputs([&found, &vector, &x]).output();
        }
        if let Some((name, segments)) = &self.segments {
            let values = b.weights.values(name, &[*segments, self.size])?;
            let first = || values[..self.size].to_vec();
            let first = b.computed(&format!("{name}/first"), &[self.size], first)?;
            x = b.graph.node("Add").inputs([&x, &first]).output();
        }
        let norm = |b: &mut Builder<'_, '_>, x, before_positions| match &self.norm {
            Some(norm) if norm.before_positions == before_positions => {
                norm.norm.apply(b, &norm.name, &x)
            }
            _ => Ok(x),
        };
        x = norm(b, x, true)?;
        if let Some((name, table)) = &self.positions {
            let positions = match tokens {
                Tokens::Source(inputs) => table.of_source(b, name, inputs)?,
                Tokens::Step(inputs) => table.of_step(b, name, inputs)?,
            };
            x = b.graph.node("Add").inputs([&x, &positions]).output();
        }
        x = flatten(b, &x, self.size);
        x = norm(b, x, false)?;
        match &self.projection {
            Some((name, hidden)) => linear(b, name, &x, (self.size, *hidden)),
            None => Ok(x),
        }
    }
}
