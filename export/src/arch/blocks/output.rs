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

/// The output layer behind the decoder.
pub(crate) struct Output {
    /// Checkpoint name of the table.
    pub(crate) table: &'static str,
    /// Number of tokens of the summary's vocabulary.
    pub(crate) vocab_size: usize,
    /// Size of the vectors in the table.
    pub(crate) size: usize,
    /// Whether the table may be tied to an embedding table, if the checkpoint lacks it.
    pub(crate) tied: bool,
    /// Factor of the hidden states.
    pub(crate) scale: Option<f32>,
    /// Layers before the table.
    pub(crate) transform: Option<Transform>,
    /// Soft cap: logits become `softcap * tanh(logit / softcap)`.
    pub(crate) softcap: Option<f32>,
    /// Checkpoint name and shape of the bias of the logits. The bias is left out if it is missing
    /// or zero.
    pub(crate) bias: (&'static str, Vec<usize>),
}

/// A linear layer with an activation function, and a norm: the head of masked language models.
pub(crate) struct Transform {
    /// Checkpoint prefixes of the linear layer and the norm.
    pub(crate) names: [&'static str; 2],
    /// Size of a hidden state.
    pub(crate) hidden: usize,
    /// The activation function.
    pub(crate) activation: Activation,
    /// The norm.
    pub(crate) norm: Norm,
}

/// Bias of the logits in old checkpoints, mostly zeros.
const LOGITS_BIAS: &str = "final_logits_bias";

impl Output {
    /// An output layer with a tied table, and with the bias of old checkpoints if there is one.
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

    /// Logits, `[rows, vocab_size]`, of hidden states, `[rows, hidden]`. `tables` are the tables
    /// that the output's own is tied to.
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
