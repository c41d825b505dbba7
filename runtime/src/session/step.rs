//! The tensors of a decoder step: its inputs and logits.

use ort::value::Tensor;

use super::tensors::{FloatTensor, allocate};
use crate::error::Result;

/// The row length of the cache indirection is a multiple of this, so that it rarely changes.
const LENGTH_MULTIPLE: usize = 64;

/// The tensors of a step.
pub(super) struct StepTensors {
    /// New token ids: int64 `[rows, 1]`.
    pub(super) input_ids: Tensor<i64>,
    /// Numbers of cached tokens: int32 `[rows, 1]`.
    pub(super) past_length: Tensor<i32>,
    /// Slots of the tokens: int32 `[rows, max_length]`.
    pub(super) cache_indirection: Tensor<i32>,
    /// Rows, first slot and source length of each document: int32 `[documents, 3]`.
    pub(super) sources: Tensor<i32>,
    /// Logits: float32 `[rows, vocab]`.
    pub(super) logits: FloatTensor,
    size: StepSize,
}

/// The size of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepSize {
    pub(super) rows: usize,
    pub(super) documents: usize,
    /// Number of tokens of the longest row.
    pub(super) longest: usize,
    pub(super) vocab_size: usize,
}

impl StepSize {
    /// Row length of the cache indirection.
    fn max_length(self) -> usize {
        self.longest.next_multiple_of(LENGTH_MULTIPLE)
    }
}

impl StepTensors {
    pub(super) fn new(size: StepSize) -> Result<Self> {
        let StepSize { rows, documents, vocab_size, .. } = size;
        Ok(Self {
            input_ids: allocate(&[rows, 1])?,
            past_length: allocate(&[rows, 1])?,
            cache_indirection: allocate(&[rows, size.max_length()])?,
            sources: allocate(&[documents, 3])?,
            logits: allocate(&[rows, vocab_size])?,
            size,
        })
    }

    /// Whether the tensors fit a step of this size.
    pub(super) fn fit(&self, size: StepSize) -> bool {
        size.max_length() == self.size.max_length()
            && StepSize { longest: self.size.longest, ..size } == self.size
    }

    /// Sets row `index`: its new token, and the slots of all its tokens.
    pub(super) fn set_row(&mut self, index: usize, token: u32, slots: &[i32]) {
        let max_length = self.size.max_length();
        self.input_ids.extract_tensor_mut().1[index] = i64::from(token);
        self.past_length.extract_tensor_mut().1[index] = slots.len() as i32 - 1;
        let (_, table) = self.cache_indirection.extract_tensor_mut();
        table[index * max_length..][..slots.len()].copy_from_slice(slots);
    }

    /// Sets document `index`: its number of rows, the first slot of its source, and its number of
    /// source tokens.
    pub(super) fn set_source(&mut self, index: usize, numbers: [usize; 3]) {
        let (_, sources) = self.sources.extract_tensor_mut();
        sources[index * 3..][..3].copy_from_slice(&numbers.map(|number| number as i32));
    }
}
