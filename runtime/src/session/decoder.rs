//! The decoder. Documents join and leave between its steps.

use ort::session::{IoBinding, Session};

use super::cross_kv::{CrossKvCache, SourceMemory};
use super::self_kv::{CacheIndirection, SelfKvCache};
use super::step::{StepSize, StepTensors};
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};
use crate::generation::{Feed, Rows, StepModel};

/// The decoder of a bundle.
pub struct Decoder {
    session: Session,
    shape: ModelShape,
}

impl Decoder {
    pub(super) fn new(session: Session, shape: ModelShape) -> Self {
        Self { session, shape }
    }

    /// Starts a decoding without documents.
    pub fn start(&mut self) -> Result<Decoding<'_>> {
        Ok(Decoding {
            binding: new_binding(&self.session)?,
            self_kv: SelfKvCache::new(&self.shape)?,
            cross_kv: CrossKvCache::new(&self.shape),
            decoder: self,
            documents: Vec::new(),
            step: None,
            needs_binding: true,
        })
    }

    /// Starts a decoding of these documents with `rows` rows each. Documents are numbered from 0.
    pub fn start_with(&mut self, memories: Vec<SourceMemory>, rows: usize) -> Result<Decoding<'_>> {
        let mut decoding = self.start()?;
        for memory in memories {
            decoding.join(memory, rows)?;
        }
        Ok(decoding)
    }
}

/// The documents that are being decoded, and their key/value caches.
///
/// Keys and values are not copied between steps. The self-attention cache holds the tokens of all
/// rows, and each row has a list of slots. The cross-attention cache holds each source once for all
/// its rows. A cache is copied only when it is full, to a larger one.
pub struct Decoding<'d> {
    decoder: &'d mut Decoder,
    binding: IoBinding,
    self_kv: SelfKvCache,
    cross_kv: CrossKvCache,
    /// By document number. A number without a document is free.
    documents: Vec<Option<SequenceGroup>>,
    step: Option<StepTensors>,
    /// Whether tensors were replaced after they were bound.
    needs_binding: bool,
}

/// The rows of a document.
struct SequenceGroup {
    cache_indirection: CacheIndirection,
    /// Number of source tokens.
    source_length: usize,
}

fn new_binding(session: &Session) -> Result<IoBinding> {
    session.create_binding().map_err(|error| Error::onnx_runtime("binding the decoder", error))
}

impl Decoding<'_> {
    /// Adds a document with `rows` rows. Returns its number.
    pub fn join(&mut self, memory: SourceMemory, rows: usize) -> Result<usize> {
        let free = self.documents.iter().position(Option::is_none);
        let number = free.unwrap_or(self.documents.len());
        let source_length = memory.length();
        let inserted = self.cross_kv.insert(number, memory);
        // A failed insertion may have replaced tensors.
        self.needs_binding |= *inserted.as_ref().unwrap_or(&true);
        inserted?;
        let cache_indirection = CacheIndirection::new(rows);
        let group = SequenceGroup { cache_indirection, source_length };
        match free {
            Some(number) => self.documents[number] = Some(group),
            None => self.documents.push(Some(group)),
        }
        Ok(number)
    }

    /// Runs a step with one token for each row of each document. Token `i` continues row
    /// `parents[i]` of its document. This is for callers that use no search.
    pub fn step_all(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        let mut first = 0;
        let documents = self.documents.iter().enumerate();
        let feeds: Vec<_> = documents
            .filter_map(|(document, group)| Some((document, group.as_ref()?)))
            .map(|(document, group)| {
                let rows = first..first + group.cache_indirection.rows();
                first = rows.end;
                let past = group.cache_indirection.length();
                let rows_fed = Rows::Beams(&parents[rows.clone()]);
                Feed { document, past, tokens: &tokens[rows], rows: rows_fed }
            })
            .collect();
        self.step(&feeds)
    }

    /// Binds all tensors. This must be repeated when a tensor is replaced.
    fn bind(&mut self) -> Result<()> {
        let Self { binding, step, self_kv, cross_kv, .. } = self;
        let mut bind = || -> ort::Result<()> {
            if let Some(step) = step {
                binding.bind_input(io::INPUT_IDS, &step.input_ids)?;
                binding.bind_input(io::PAST_LENGTH, &step.past_length)?;
                binding.bind_input(io::CACHE_INDIRECTION, &step.cache_indirection)?;
                binding.bind_input(io::SOURCES, &step.sources)?;
                binding.bind_output(io::LOGITS, &mut step.logits)?;
            }
            for (index, layer) in cross_kv.layers.iter().enumerate() {
                binding.bind_input(io::cross_key(index), &layer.key)?;
                binding.bind_input(io::cross_value(index), &layer.value)?;
            }
            for (index, layer) in self_kv.layers.iter_mut().enumerate() {
                binding.bind_input(io::past_key(index), &layer.key)?;
                binding.bind_input(io::past_value(index), &layer.value)?;
                binding.bind_output(io::present_key(index), &mut layer.key)?;
                binding.bind_output(io::present_value(index), &mut layer.value)?;
            }
            Ok(())
        };
        bind().map_err(|error| Error::onnx_runtime("binding the decoder", error))
    }
}

impl StepModel for Decoding<'_> {
    type Error = Error;

    fn vocab_size(&self) -> usize {
        self.decoder.shape.vocab_size
    }

    fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32]> {
        let rows = feeds.iter().map(|feed| feed.tokens.len()).sum();
        self.needs_binding |= self.self_kv.reserve(rows)?;
        for feed in feeds {
            let group = self.documents[feed.document].as_mut().expect("it has joined");
            self.self_kv.extend(&mut group.cache_indirection, feed);
        }
        let size = StepSize {
            rows,
            documents: feeds.len(),
            longest: feeds.iter().map(Feed::longest).max().unwrap_or(0),
            vocab_size: self.decoder.shape.vocab_size,
        };
        if !self.step.as_ref().is_some_and(|step| step.fit(size)) {
            self.step = Some(StepTensors::new(size)?);
            self.needs_binding = true;
        }
        if std::mem::take(&mut self.needs_binding) {
            self.binding = new_binding(&self.decoder.session)?;
            self.bind()?;
        }
        let step = self.step.as_mut().expect("made above");
        let mut row = 0;
        for (index, feed) in feeds.iter().enumerate() {
            let group = self.documents[feed.document].as_ref().expect("it has joined");
            let first_slot = self.cross_kv.first_slot(feed.document);
            step.set_source(index, [feed.tokens.len(), first_slot, group.source_length]);
            for (index, &token) in feed.tokens.iter().enumerate() {
                step.set_row(row, token, group.cache_indirection.slots_of(feed, index));
                row += 1;
            }
        }
        self.decoder
            .session
            .run_binding(&self.binding)
            .map_err(|error| Error::onnx_runtime("in a decoder step", error))?;
        Ok(step.logits.extract_tensor_mut().1)
    }

    fn leave(&mut self, document: usize) {
        if let Some(left) = self.documents[document].take() {
            self.self_kv.release(&left.cache_indirection);
            self.cross_kv.remove(document);
        }
    }
}
