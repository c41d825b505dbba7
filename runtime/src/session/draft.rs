//! The decoder graph that reads several tokens of one document in a step, to verify a draft.

use std::path::PathBuf;

use ort::session::{Session, SessionInputValue, SessionInputs};

use super::buffers::Buffers;
use super::graph::{SessionOptions, open};
use super::interface::check_decoder;
use super::tensors::filled;
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};
use crate::library::OnnxRuntime;

/// Loaded when it is first used: most decodings have no drafts.
pub(super) struct DraftGraph {
    path: PathBuf,
    options: SessionOptions,
    shape: ModelShape,
    session: Option<Session>,
}

impl DraftGraph {
    pub(super) fn new(path: PathBuf, options: &SessionOptions, shape: ModelShape) -> Self {
        Self { path, options: options.clone(), shape, session: None }
    }

    /// Reads `tokens` behind the `length` others of the caches in `buffers`, and writes their keys
    /// and values there. Leaves the logits behind each token in `logits`.
    pub(super) fn read(
        &mut self,
        tokens: &[u32],
        length: usize,
        buffers: &mut Buffers,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                let session = open(&OnnxRuntime::load()?, &self.path, &self.options)?;
                check_decoder(&session, &self.path, &self.shape, true)?;
                none.insert(session)
            }
        };
        let ids = filled(&[1, tokens.len()], tokens.iter().map(|&token| i64::from(token)))?;
        let past_length = filled(&[1], [length as i32])?;
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
            (io::INPUT_IDS.into(), ids.into()),
            (io::PAST_LENGTH.into(), past_length.into()),
            (io::SOURCE_MASK.into(), (&buffers.mask).into()),
        ];
        for (index, layer) in buffers.layers.iter().enumerate() {
            inputs.extend([
                (io::cross_key(index), (&layer.cross.key).into()),
                (io::cross_value(index), (&layer.cross.value).into()),
                (io::past_key(index), (&layer.past_key).into()),
                (io::past_value(index), (&layer.past_value).into()),
            ]);
        }
        let failed = |error| Error::onnx_runtime("in a step that reads a draft", error);
        let outputs = session.run(SessionInputs::from(inputs)).map_err(failed)?;
        let floats = |name: &str| {
            let extracted = outputs[name].try_extract_tensor::<f32>();
            extracted.map(|(_, values)| values).map_err(failed)
        };
        logits.clear();
        logits.extend_from_slice(floats(io::LOGITS)?);
        for (index, layer) in buffers.layers.iter_mut().enumerate() {
            let new = [floats(&io::present_key(index))?, floats(&io::present_value(index))?];
            layer.write(new, length);
        }
        Ok(())
    }
}
