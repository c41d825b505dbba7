//! What changes from step to step: the inputs of a step, and its logits.

use ort::value::Tensor;

use super::tensors::{FloatTensor, allocate};
use crate::error::Result;

/// Tokens of a history, in multiples of which there is room for the longest.
const ROOM: usize = 64;

/// The tensors of a step of some rows.
pub(super) struct StepTensors {
    /// int64 `[rows, 1]`.
    pub(super) input_ids: Tensor<i64>,
    /// int32 `[rows, 1]`.
    pub(super) past_length: Tensor<i32>,
    /// int32 `[rows, room]`.
    pub(super) indirection: Tensor<i32>,
    /// int32 `[documents, 3]`.
    pub(super) sources: Tensor<i32>,
    /// float32 `[rows, vocab]`.
    pub(super) logits: FloatTensor,
    size: StepSize,
}

/// The sizes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepSize {
    pub(super) rows: usize,
    pub(super) documents: usize,
    /// Tokens of the longest history.
    pub(super) longest: usize,
    pub(super) vocab_size: usize,
}

impl StepTensors {
    pub(super) fn new(size: StepSize) -> Result<Self> {
        let StepSize { rows, documents, longest, vocab_size } = size;
        Ok(Self {
            input_ids: allocate(&[rows, 1])?,
            past_length: allocate(&[rows, 1])?,
            indirection: allocate(&[rows, longest.next_multiple_of(ROOM)])?,
            sources: allocate(&[documents, 3])?,
            logits: allocate(&[rows, vocab_size])?,
            size,
        })
    }

    /// Whether they serve a step of this size.
    pub(super) fn fit(&self, size: StepSize) -> bool {
        let room = |size: StepSize| size.longest.next_multiple_of(ROOM);
        room(size) == room(self.size)
            && StepSize { longest: self.size.longest, ..size } == self.size
    }

    /// Writes the row `index`: its new token, and the places of its history.
    pub(super) fn set_row(&mut self, index: usize, token: u32, history: &[i32]) {
        let room = self.size.longest.next_multiple_of(ROOM);
        self.input_ids.extract_tensor_mut().1[index] = i64::from(token);
        self.past_length.extract_tensor_mut().1[index] = history.len() as i32 - 1;
        let (_, table) = self.indirection.extract_tensor_mut();
        table[index * room..][..history.len()].copy_from_slice(history);
    }

    /// Writes the document `index`: its rows, the first place of its source and its tokens.
    pub(super) fn set_source(&mut self, index: usize, numbers: [usize; 3]) {
        let (_, sources) = self.sources.extract_tensor_mut();
        sources[index * 3..][..3].copy_from_slice(&numbers.map(|number| number as i32));
    }
}
