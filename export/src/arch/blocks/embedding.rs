//! Embedding tables: from tokens to vectors, and from vectors to logits.

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
/// transformers 4 stores a tied table under each of its names, transformers 5 under the first. A
/// table whose values differ from the others is not tied, whatever config.json says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiedTables<'a> {
    /// Checkpoint names, the leading one first. If a table's own name is missing, the first name
    /// that exists is used.
    pub(crate) names: &'a [&'static str],
    /// Number of tokens.
    pub(crate) vocab_size: usize,
    /// Size of a vector.
    pub(crate) hidden: usize,
}

impl TiedTables<'_> {
    /// Reads the table `name`, or the table it is tied to if the checkpoint lacks it.
    pub(crate) fn table(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Matrix> {
        let dims = (self.vocab_size, self.hidden);
        let leading = self.names[0];
        // The graphs do not depend on which of the names the checkpoint has.
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

/// From tokens to the input of the first layer.
pub(crate) struct Embedding {
    /// Checkpoint name of the table.
    pub(crate) table: String,
    /// Number of tokens in the table.
    pub(crate) vocab_size: usize,
    /// Size of a vector.
    pub(crate) size: usize,
    /// Factor of every vector.
    pub(crate) scale: Option<f32>,
    /// A token whose vector is replaced with another tensor, without `scale`: the token id and the
    /// tensor's checkpoint name.
    pub(crate) replaced: Option<(u32, String)>,
    /// Table of segments (`token_type_ids`): its checkpoint name and number of rows. All tokens use
    /// the first.
    pub(crate) segments: Option<(String, usize)>,
    /// Checkpoint prefix of the positions that are added, and their table.
    pub(crate) positions: Option<(String, PositionTable)>,
    /// The norm.
    pub(crate) norm: Option<TokenNorm>,
    /// Linear layer to the size of the hidden states, if that differs: its checkpoint prefix and
    /// its output size.
    pub(crate) projection: Option<(String, usize)>,
}

/// The norm before the first layer.
pub(crate) struct TokenNorm {
    /// Checkpoint prefix of the norm.
    pub(crate) name: String,
    /// The norm.
    pub(crate) norm: Norm,
    /// Whether the norm runs before the positions are added.
    pub(crate) before_positions: bool,
}

impl Embedding {
    /// An embedding with a table of this checkpoint name, and nothing else.
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

    /// Embeds tokens: `[rows * columns, hidden]`. `tables` are the tables that the embedding's own
    /// is tied to.
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
