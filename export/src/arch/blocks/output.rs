//! From the last hidden states to logits.

use super::activation::Activation;
use super::embedding::TiedTables;
use super::linear::activated;
use super::matrix::Matrix;
use super::norm::Norm;
use super::plain_attention::softcapped;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// The layers behind the decoder's last.
pub(crate) struct Output {
    /// Checkpoint name of the table.
    pub(crate) table: &'static str,
    /// Tokens of the summary.
    pub(crate) vocab_size: usize,
    /// Size of the vectors in the table.
    pub(crate) size: usize,
    /// Whether the output may do without a table of its own.
    pub(crate) tied: bool,
    /// What hidden states are multiplied with.
    pub(crate) scale: Option<f32>,
    /// What they go through before the table.
    pub(crate) transform: Option<Transform>,
    /// What logits approach and do not reach.
    pub(crate) softcap: Option<f32>,
    /// What is added to the logits: its checkpoint name and shape. It is left out where it is
    /// missing or holds zeros.
    pub(crate) bias: (&'static str, Vec<usize>),
}

/// A linear layer with an activation function, and a norm: the head of masked language models.
pub(crate) struct Transform {
    /// Checkpoint prefixes of both.
    pub(crate) names: [&'static str; 2],
    /// Size of a hidden state.
    pub(crate) hidden: usize,
    /// The function.
    pub(crate) activation: Activation,
    /// The norm.
    pub(crate) norm: Norm,
}

/// Old checkpoints hold this bias of the logits, mostly zeros.
const LOGITS_BIAS: &str = "final_logits_bias";

impl Output {
    /// A tied table, and the bias of transformers' first models where the checkpoint has it.
    pub(crate) fn new(table: &'static str, vocab_size: usize, size: usize) -> Self {
        Self {
            table,
            vocab_size,
            size,
            tied: true,
            scale: None,
            transform: None,
            softcap: None,
            bias: (LOGITS_BIAS, vec![1, vocab_size]),
        }
    }

    /// Logits of `[rows, hidden]`: `[rows, vocab_size]`. `tables` are those that its own is tied
    /// to.
    pub(crate) fn apply(
        &self,
        b: &mut Builder<'_, '_>,
        tables: &[&'static str],
        x: &Value,
    ) -> Result<Value> {
        let mut x = x.clone();
        if let Some(transform) = &self.transform {
            let [dense, norm] = transform.names;
            let sizes = (transform.hidden, self.size);
            x = activated(b, dense, &x, sizes, transform.activation)?;
            x = transform.norm.apply(b, norm, &x)?;
        }
        if let Some(scale) = self.scale {
            let scale = b.graph.scalar(scale);
            x = b.graph.node("Mul").inputs([&x, &scale]).output();
        }
        let table = match self.tied {
            true => TiedTables { names: tables, vocab_size: self.vocab_size, hidden: self.size }
                .table(b, self.table)?,
            false => Matrix::table(b, self.table, (self.vocab_size, self.size))?,
        };
        let (name, dims) = &self.bias;
        let bias = match b.weights.is_nonzero(name) {
            true => Some(b.logits_bias(name, dims)?),
            false => None,
        };
        let logits = table.product(b, &x, bias.as_ref(), Activation::Identity);
        Ok(match self.softcap {
            Some(softcap) => softcapped(&mut b.graph, &logits, softcap),
            None => logits,
        })
    }
}
