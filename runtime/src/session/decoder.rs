//! The decoder: one step at a time, over buffers that stay where they are.

use ort::session::{IoBinding, Session};

use super::buffers::{Buffers, Layer, StepBuffers, source_mask};
use super::cross_kv::{SourceMemory, gather};
use super::draft::DraftGraph;
use super::tensors::{allocate, copy_prefixes, copy_rows};
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};
use crate::generation::{DraftModel, StepModel};

/// Tokens for which the caches of a decoding have room at first: more than almost any summary has.
const FIRST_ROOM: usize = 1024;

/// Starts decodings.
pub struct Decoder {
    session: Session,
    draft: DraftGraph,
    shape: ModelShape,
}

impl Decoder {
    pub(super) fn new(session: Session, draft: DraftGraph, shape: ModelShape) -> Self {
        Self { session, draft, shape }
    }

    /// Starts decoding these documents with `beams` rows each, for at most `max_length` tokens a
    /// row, the start token included. Caches have room for `FIRST_ROOM` of them, and grow.
    pub fn start(
        &mut self,
        memories: Vec<SourceMemory>,
        beams: usize,
        max_length: usize,
    ) -> Result<Decoding<'_>> {
        let mask = source_mask(&memories)?;
        let room = max_length.min(FIRST_ROOM);
        let layers = gather(memories)?
            .into_iter()
            .map(|cross| Layer::new(cross, beams, room, &self.shape))
            .collect::<Result<Vec<_>>>()?;
        let documents = mask.shape()[0] as usize;
        let buffers = Buffers {
            steps: StepBuffers::new(documents, beams, room, self.shape.vocab_size)?,
            mask,
            layers,
        };
        let mut decoding = Decoding {
            binding: buffers_binding(&self.session)?,
            decoder: self,
            buffers,
            documents,
            beams,
            max_length,
            room,
            length: 0,
            previous: Vec::new(),
            draft_logits: Vec::new(),
        };
        decoding.bind()?;
        Ok(decoding)
    }
}

/// Documents being decoded.
///
/// The self-attention cache of a row is written in place, and copied only to grow: when beams are
/// reordered, `cache_indirection[document, beam, position]` names the beam whose row holds the
/// token. Cross-attention keys and values are there once a document, whatever the beams.
pub struct Decoding<'d> {
    decoder: &'d mut Decoder,
    binding: IoBinding,
    buffers: Buffers,
    documents: usize,
    beams: usize,
    max_length: usize,
    /// Tokens for which the caches have room.
    room: usize,
    /// Tokens in the cache.
    length: usize,
    /// The indirection before a reorder; kept to save an allocation a step.
    previous: Vec<i32>,
    /// Logits of the last step that read a draft.
    draft_logits: Vec<f32>,
}

fn buffers_binding(session: &Session) -> Result<IoBinding> {
    session.create_binding().map_err(|error| Error::onnx_runtime("binding the decoder", error))
}

impl Decoding<'_> {
    /// Binds every buffer; needed again only when buffers are replaced.
    fn bind(&mut self) -> Result<()> {
        let Buffers { steps, mask, layers } = &mut self.buffers;
        let binding = &mut self.binding;
        let mut bind = || -> ort::Result<()> {
            binding.bind_input(io::INPUT_IDS, &steps.input_ids)?;
            binding.bind_input(io::PAST_LENGTH, &steps.past_length)?;
            binding.bind_input(io::CACHE_INDIRECTION, &steps.indirection)?;
            binding.bind_input(io::SOURCE_MASK, &*mask)?;
            binding.bind_output(io::LOGITS, &mut steps.logits)?;
            for (index, layer) in layers.iter_mut().enumerate() {
                binding.bind_input(io::cross_key(index), &layer.cross.key)?;
                binding.bind_input(io::cross_value(index), &layer.cross.value)?;
                binding.bind_input(io::past_key(index), &layer.past_key)?;
                binding.bind_input(io::past_value(index), &layer.past_value)?;
                binding.bind_output(io::present_key(index), &mut layer.past_key)?;
                binding.bind_output(io::present_value(index), &mut layer.past_value)?;
            }
            Ok(())
        };
        bind().map_err(|error| Error::onnx_runtime("binding the decoder", error))
    }

    /// Makes room in the caches for so many tokens more.
    fn reserve(&mut self, tokens: usize) -> Result<()> {
        let needed = self.length + tokens;
        assert!(needed <= self.max_length, "a step beyond max_length {}", self.max_length);
        if needed <= self.room {
            return Ok(());
        }
        let room = needed.max(2 * self.room).min(self.max_length);
        let (rows, length) = (self.documents * self.beams, self.length);
        let vocab_size = self.vocab_size();
        let Buffers { steps, layers, .. } = &mut self.buffers;
        let mut larger = StepBuffers::new(self.documents, self.beams, room, vocab_size)?;
        copy_prefixes(&steps.indirection, &mut larger.indirection, rows, length);
        *steps = larger;
        for layer in layers {
            layer.grow(room, length)?;
        }
        self.room = room;
        self.binding = buffers_binding(&self.decoder.session)?;
        self.bind()
    }

    /// Points every row at the histories its parent had.
    fn reorder(&mut self, parents: &[u32]) {
        let Some(newest) = self.length.checked_sub(1) else {
            return;
        };
        let (_, table) = self.buffers.steps.indirection.extract_tensor_mut();
        self.previous.clear();
        self.previous.extend_from_slice(table);
        let stride = self.room;
        for (row, &parent) in parents.iter().enumerate() {
            let from = (row / self.beams * self.beams + parent as usize) * stride;
            let to = &mut table[row * stride..][..self.length];
            to[..newest].copy_from_slice(&self.previous[from..from + newest]);
            to[newest] = parent as i32;
        }
    }
}

impl StepModel for Decoding<'_> {
    type Error = Error;

    fn vocab_size(&self) -> usize {
        self.decoder.shape.vocab_size
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        let rows = self.documents * self.beams;
        assert_eq!((tokens.len(), parents.len()), (rows, rows), "one token and parent a row");
        self.reserve(1)?;
        self.reorder(parents);
        let steps = &mut self.buffers.steps;
        let (_, ids) = steps.input_ids.extract_tensor_mut();
        ids.iter_mut().zip(tokens).for_each(|(id, &token)| *id = i64::from(token));
        steps.past_length.extract_tensor_mut().1[0] = self.length as i32;
        self.decoder
            .session
            .run_binding(&self.binding)
            .map_err(|error| Error::onnx_runtime("in a decoder step", error))?;
        self.length += 1;
        Ok(self.buffers.steps.logits.extract_tensor_mut().1)
    }

    fn retain(&mut self, documents: &[usize]) -> Result<()> {
        if documents.len() == self.documents {
            return Ok(());
        }
        let (beams, length) = (self.beams, self.length);
        let vocab_size = self.vocab_size();
        let Buffers { steps, mask, layers } = &mut self.buffers;
        let mut smaller = StepBuffers::new(documents.len(), beams, self.room, vocab_size)?;
        let (_, table) = steps.indirection.extract_tensor();
        copy_rows(table, &mut smaller.indirection, documents);
        *steps = smaller;
        let mut smaller = allocate(&[documents.len(), mask.shape()[1] as usize])?;
        copy_rows(mask.extract_tensor().1, &mut smaller, documents);
        *mask = smaller;
        for layer in layers {
            layer.retain(documents, beams, length)?;
        }
        self.documents = documents.len();
        self.binding = buffers_binding(&self.decoder.session)?;
        self.bind()
    }

    fn as_draft_model(&mut self) -> Option<&mut dyn DraftModel<Error = Error>> {
        let single = self.documents * self.beams == 1;
        single.then_some(self as _)
    }
}

impl DraftModel for Decoding<'_> {
    type Error = Error;

    fn read(&mut self, tokens: &[u32]) -> Result<&mut [f32]> {
        self.reserve(tokens.len())?;
        let logits = &mut self.draft_logits;
        let draft = &mut self.decoder.draft;
        draft.read(tokens, self.length, &mut self.buffers, logits)?;
        self.length += tokens.len();
        Ok(&mut self.draft_logits)
    }

    fn forget(&mut self, count: usize) {
        self.length -= count;
    }
}
