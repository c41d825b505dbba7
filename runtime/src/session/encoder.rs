//! The encoder.

use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionOutputs};
use ort::value::{DowncastableTarget, Value, ValueTypeMarker};

use super::cross_kv::{CrossKv, SourceMemory};
use super::interface::cross_element_type;
use super::tensors::{FloatTensor, filled};
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};
use crate::generation::GlobalAttentionMask;

/// Number of source tokens beyond which ONNX Runtime frees its memory after the run. Otherwise it
/// keeps the memory for the next run, which makes short sources a few percent faster. After a long
/// source it would keep as much memory as the keys and values take.
const LONG_SOURCE: usize = 2048;

/// The encoder of a bundle. It runs once for each document.
pub struct Encoder {
    session: Session,
    shape: ModelShape,
}

impl Encoder {
    pub(super) fn new(session: Session, shape: ModelShape) -> Self {
        Self { session, shape }
    }

    /// Encodes one document, without global attention. Documents are not batched, so that they need
    /// no padding and a result does not depend on other documents.
    pub fn encode(&mut self, token_ids: &[u32]) -> Result<SourceMemory> {
        self.encode_with(token_ids, &GlobalAttentionMask::none())
    }

    /// Encodes one document. `global` counts only for models with global attention (LED).
    pub fn encode_with(
        &mut self,
        token_ids: &[u32],
        global: &GlobalAttentionMask,
    ) -> Result<SourceMemory> {
        let layers = self.shape.decoder_layers;
        let element_type = cross_element_type(self.session.outputs());
        // The outputs are preallocated outside of ONNX Runtime's arena. They outlive the run, and
        // would keep the arena from freeing the memory around them.
        let mut selected = OutputSelector::no_default();
        for layer in 0..layers {
            let CrossKv { key, value } =
                CrossKv::allocate(element_type, &self.shape, token_ids.len())?;
            for (name, tensor) in [(io::cross_key(layer), key), (io::cross_value(layer), value)] {
                selected = selected.with(&name).preallocate(name, tensor);
            }
        }
        let options = options(selected, token_ids.len())?;
        let mut outputs = self.run(&[(token_ids, global)], &options)?;
        let cross = (0..layers)
            .map(|layer| {
                let key = take(&mut outputs, &io::cross_key(layer))?;
                CrossKv::new(key, take(&mut outputs, &io::cross_value(layer))?)
            })
            .collect::<Result<_>>()?;
        Ok(SourceMemory { cross, length: token_ids.len() })
    }

    /// Hidden states of the last layer for a batch: float32 `[batch, source, hidden]`. Documents
    /// are padded to the longest one. The rows of padding have no meaning.
    pub fn hidden_states(
        &mut self,
        sources: &[(&[u32], &GlobalAttentionMask)],
    ) -> Result<Vec<f32>> {
        let selected = OutputSelector::no_default().with(io::LAST_HIDDEN_STATE);
        let tokens = sources.iter().map(|(source, _)| source.len()).sum();
        let options = options(selected, tokens)?;
        let mut outputs = self.run(sources, &options)?;
        let tensor: FloatTensor = take(&mut outputs, io::LAST_HIDDEN_STATE)?;
        Ok(tensor.extract_tensor().1.to_vec())
    }

    fn run<'s>(
        &'s mut self,
        sources: &[(&[u32], &GlobalAttentionMask)],
        options: &'s RunOptions<HasSelectedOutputs>,
    ) -> Result<SessionOutputs<'s>> {
        let longest = sources.iter().map(|(source, _)| source.len()).max().unwrap_or(0);
        let dims = [sources.len(), longest];
        let padded = |(source, _): &(&[u32], _)| {
            let ids = source.iter().map(|&id| (i64::from(id), 1i32));
            ids.chain(std::iter::repeat((0, 0))).take(longest).collect::<Vec<_>>()
        };
        let rows: Vec<(i64, i32)> = sources.iter().flat_map(padded).collect();
        let input_ids = filled(&dims, rows.iter().map(|(id, _)| *id))?;
        let mask = filled(&dims, rows.iter().map(|(_, mask)| *mask))?;
        let mut inputs = ort::inputs![io::INPUT_IDS => input_ids, io::ATTENTION_MASK => mask];
        if self.shape.global_attention {
            let rows = sources.iter().flat_map(|(_, mask)| mask.tokens().take(longest));
            let global = filled(&dims, rows.map(i32::from))?;
            inputs.push((io::GLOBAL_ATTENTION_MASK.into(), global.into()));
        }
        let outputs = self.session.run_with_options(inputs, options);
        outputs.map_err(|error| Error::onnx_runtime("in the encoder", error))
    }
}

/// Options of a run with these outputs and `tokens` source tokens.
fn options(selected: OutputSelector, tokens: usize) -> Result<RunOptions<HasSelectedOutputs>> {
    let options = || -> ort::Result<_> {
        let mut options = RunOptions::new()?.with_outputs(selected);
        if tokens > LONG_SOURCE {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        }
        Ok(options)
    };
    options().map_err(|error| Error::onnx_runtime("in the encoder", error))
}

fn take<T>(outputs: &mut SessionOutputs<'_>, name: &str) -> Result<Value<T>>
where
    T: ValueTypeMarker + DowncastableTarget + ?Sized,
{
    outputs
        .remove(name)
        .ok_or_else(|| Error::onnx_runtime("in the encoder", format!("no output '{name}'")))?
        .downcast()
        .map_err(|error| Error::onnx_runtime("in the encoder", error))
}
