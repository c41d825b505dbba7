//! The tensors that a decoding binds: inputs and logits of a step, and the caches of each layer.

use ort::value::Tensor;

use super::cross_kv::{CrossKv, SourceMemory};
use super::tensors::{FloatTensor, allocate, copy_prefixes, filled, kept_shape};
use crate::bundle::ModelShape;
use crate::error::Result;

/// The tensors of one decoding, which stay where they are from step to step.
pub(super) struct Buffers {
    pub(super) steps: StepBuffers,
    /// int32 `[documents, source]`.
    pub(super) mask: Tensor<i32>,
    pub(super) layers: Vec<Layer>,
}

/// What changes from step to step.
pub(super) struct StepBuffers {
    /// int64 `[documents, beams]`.
    pub(super) input_ids: Tensor<i64>,
    /// int32 `[1]`.
    pub(super) past_length: Tensor<i32>,
    /// int32 `[documents, beams, room]`.
    pub(super) indirection: Tensor<i32>,
    /// float32 `[documents * beams, vocab]`.
    pub(super) logits: FloatTensor,
}

impl StepBuffers {
    pub(super) fn new(
        documents: usize,
        beams: usize,
        room: usize,
        vocab_size: usize,
    ) -> Result<Self> {
        let cells = documents * beams * room;
        Ok(Self {
            input_ids: filled(&[documents, beams], std::iter::repeat_n(0, documents * beams))?,
            past_length: filled(&[1], [0])?,
            indirection: filled(&[documents, beams, room], std::iter::repeat_n(0, cells))?,
            logits: allocate(&[documents * beams, vocab_size])?,
        })
    }
}

/// The caches of one layer.
pub(super) struct Layer {
    pub(super) cross: CrossKv,
    /// float32 `[documents * beams, heads, room, head_size]`.
    pub(super) past_key: FloatTensor,
    /// The same shape.
    pub(super) past_value: FloatTensor,
}

impl Layer {
    pub(super) fn new(
        cross: CrossKv,
        beams: usize,
        room: usize,
        shape: &ModelShape,
    ) -> Result<Self> {
        let dims = [cross.documents() * beams, shape.heads, room, shape.head_size];
        Ok(Self { cross, past_key: allocate(&dims)?, past_value: allocate(&dims)? })
    }

    /// Makes room for `room` tokens a row, and keeps the `length` that are there.
    pub(super) fn grow(&mut self, room: usize, length: usize) -> Result<()> {
        for past in [&mut self.past_key, &mut self.past_value] {
            let [rows, heads, _, size] = dimensions(past);
            let mut larger = allocate(&[rows, heads, room, size])?;
            copy_prefixes(past, &mut larger, rows * heads, length * size);
            *past = larger;
        }
        Ok(())
    }

    /// Keeps these documents alone, with the first `length` tokens of their rows.
    pub(super) fn retain(
        &mut self,
        documents: &[usize],
        beams: usize,
        length: usize,
    ) -> Result<()> {
        self.cross.retain(documents)?;
        for past in [&mut self.past_key, &mut self.past_value] {
            let mut smaller = allocate(&kept_shape(past.shape(), documents.len() * beams))?;
            copy_past(past, &mut smaller, documents, beams, length);
            *past = smaller;
        }
        Ok(())
    }

    /// Writes keys and values of new tokens, `[1, heads, tokens, head_size]` each, behind the
    /// `length` others.
    pub(super) fn write(&mut self, new: [&[f32]; 2], length: usize) {
        for (past, new) in [&mut self.past_key, &mut self.past_value].into_iter().zip(new) {
            let [_, heads, room, size] = dimensions(past);
            let (_, past) = past.extract_tensor_mut();
            let per_head = new.len() / heads;
            let heads = past.chunks_exact_mut(room * size);
            for (head, new) in heads.zip(new.chunks_exact(per_head)) {
                head[length * size..][..per_head].copy_from_slice(new);
            }
        }
    }
}

/// 1 where a document has a token and 0 where it is padded, int32 `[documents, source]`.
pub(super) fn source_mask(memories: &[SourceMemory]) -> Result<Tensor<i32>> {
    let longest = memories.iter().map(SourceMemory::length).max().unwrap_or(0);
    let cells = memories
        .iter()
        .flat_map(|memory| (0..longest).map(|position| i32::from(position < memory.length)));
    filled(&[memories.len(), longest], cells)
}

/// Copies the filled part of the self-attention cache of whole documents.
fn copy_past(
    from: &FloatTensor,
    to: &mut FloatTensor,
    documents: &[usize],
    beams: usize,
    length: usize,
) {
    let [_, heads, room, size] = dimensions(from);
    let (_, to) = to.extract_tensor_mut();
    let (_, from) = from.extract_tensor();
    let (block, filled) = (room * size, length * size);
    let document_blocks = beams * heads;
    for (index, &document) in documents.iter().enumerate() {
        for head in 0..document_blocks {
            let to = &mut to[(index * document_blocks + head) * block..][..filled];
            to.copy_from_slice(&from[(document * document_blocks + head) * block..][..filled]);
        }
    }
}

fn dimensions(past: &FloatTensor) -> [usize; 4] {
    std::array::from_fn(|axis| past.shape()[axis] as usize)
}
