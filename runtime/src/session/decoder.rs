//! The decoder: one step at a time, for documents that join and leave between steps.

use ort::session::{IoBinding, Session};

use super::cross_kv::{CrossMemory, SourceMemory};
use super::self_kv::{Histories, SelfKv};
use super::step::{StepSize, StepTensors};
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};
use crate::generation::{Feed, Rows, StepModel};

/// Starts decodings.
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
            self_kv: SelfKv::new(&self.shape)?,
            cross: CrossMemory::new(&self.shape),
            decoder: self,
            documents: Vec::new(),
            step: None,
            caches_moved: true,
        })
    }

    /// Starts a decoding of these documents with so many rows each, numbered from 0.
    pub fn start_with(&mut self, memories: Vec<SourceMemory>, rows: usize) -> Result<Decoding<'_>> {
        let mut decoding = self.start()?;
        for memory in memories {
            decoding.join(memory, rows)?;
        }
        Ok(decoding)
    }
}

/// Documents being decoded.
///
/// Keys and values stay where they are from step to step: those of the tokens of all rows in one
/// cache, where a row's history is a list of places, and those of the sources, there once a
/// document whatever its rows. Only a cache that is full moves, into a larger one.
pub struct Decoding<'d> {
    decoder: &'d mut Decoder,
    binding: IoBinding,
    self_kv: SelfKv,
    cross: CrossMemory,
    /// By number; those that left are none.
    documents: Vec<Option<Document>>,
    step: Option<StepTensors>,
    /// Whether the caches are others than those that are bound.
    caches_moved: bool,
}

/// A document that decodes.
struct Document {
    histories: Histories,
    /// Tokens of its source.
    source: usize,
}

fn new_binding(session: &Session) -> Result<IoBinding> {
    session.create_binding().map_err(|error| Error::onnx_runtime("binding the decoder", error))
}

impl Decoding<'_> {
    /// A document joins with so many rows. Gives the number under which it is fed.
    pub fn join(&mut self, memory: SourceMemory, rows: usize) -> Result<usize> {
        let free = self.documents.iter().position(Option::is_none);
        let number = free.unwrap_or(self.documents.len());
        let source = memory.length();
        let inserted = self.cross.insert(number, memory);
        // Where it fails, tensors may have been replaced before.
        self.caches_moved |= *inserted.as_ref().unwrap_or(&true);
        inserted?;
        let document = Document { histories: Histories::new(rows), source };
        match free {
            Some(number) => self.documents[number] = Some(document),
            None => self.documents.push(Some(document)),
        }
        Ok(number)
    }

    /// A step of all documents, each of which feeds a token of every row: `parents` says which row
    /// of the document each continues. For those who drive a decoder by hand.
    pub fn step_all(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        let mut first = 0;
        let documents = self.documents.iter().enumerate();
        let feeds: Vec<_> = documents
            .filter_map(|(document, it)| Some((document, it.as_ref()?)))
            .map(|(document, it)| {
                let rows = first..first + it.histories.rows();
                first = rows.end;
                let past = it.histories.length();
                let rows_fed = Rows::Beams(&parents[rows.clone()]);
                Feed { document, past, tokens: &tokens[rows], rows: rows_fed }
            })
            .collect();
        self.step(&feeds)
    }

    /// Binds the tensors of steps, which needs to be done again when they are replaced.
    fn bind(&mut self) -> Result<()> {
        let Self { binding, step, self_kv, cross, .. } = self;
        let mut bind = || -> ort::Result<()> {
            if let Some(step) = step {
                binding.bind_input(io::INPUT_IDS, &step.input_ids)?;
                binding.bind_input(io::PAST_LENGTH, &step.past_length)?;
                binding.bind_input(io::CACHE_INDIRECTION, &step.indirection)?;
                binding.bind_input(io::SOURCES, &step.sources)?;
                binding.bind_output(io::LOGITS, &mut step.logits)?;
            }
            for (index, layer) in cross.layers.iter().enumerate() {
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
        self.caches_moved |= self.self_kv.reserve(rows)?;
        for feed in feeds {
            let document = self.documents[feed.document].as_mut().expect("it has joined");
            self.self_kv.extend(&mut document.histories, feed);
        }
        let size = StepSize {
            rows,
            documents: feeds.len(),
            longest: feeds.iter().map(Feed::longest).max().unwrap_or(0),
            vocab_size: self.decoder.shape.vocab_size,
        };
        if !self.step.as_ref().is_some_and(|step| step.fit(size)) {
            self.step = Some(StepTensors::new(size)?);
            self.caches_moved = true;
        }
        if std::mem::take(&mut self.caches_moved) {
            self.binding = new_binding(&self.decoder.session)?;
            self.bind()?;
        }
        let step = self.step.as_mut().expect("made above");
        let mut row = 0;
        for (index, feed) in feeds.iter().enumerate() {
            let document = self.documents[feed.document].as_ref().expect("it has joined");
            let first_place = self.cross.first_place(feed.document);
            step.set_source(index, [feed.tokens.len(), first_place, document.source]);
            for (index, &token) in feed.tokens.iter().enumerate() {
                step.set_row(row, token, document.histories.of(feed, index));
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
            self.self_kv.release(&left.histories);
            self.cross.remove(document);
        }
    }
}
