//! Runs an export with plain calls of ONNX Runtime, to verify it.

use std::path::Path;

use epitome_runtime::library::OnnxRuntime;
use epitome_runtime::session::{self, SessionOptions};
use ort::session::{Session, SessionInputValue, SessionInputs};
use ort::value::Tensor;

use super::names::{self, DECODER, ENCODER};
use crate::error::{Error, Result};

/// Both graphs, loaded.
pub struct Sessions {
    encoder: Session,
    decoder: Session,
}

/// Source documents, padded to one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `[documents, length]`.
    pub shape: [usize; 2],
    /// Token ids, int64 `[documents, length]`.
    pub ids: Vec<i64>,
    /// 1 for a token, 0 for padding: int64 `[documents, length]`.
    pub mask: Vec<i64>,
    /// 1 for a token with global attention; `None` for the default.
    pub global_attention_mask: Option<Vec<i64>>,
}

/// A float32 tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floats {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, the last dimension running fastest.
    pub values: Vec<f32>,
}

/// Keys and values of every layer, in the order of `names::PARTS`. Empty before the first step.
pub type Cache = Vec<[Floats; 4]>;

impl Sessions {
    /// Loads the export in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let runtime = OnnxRuntime::load().map_err(epitome_runtime::Error::from)?;
        // Weights are used where they are mapped: packed copies would cost more than a few slow
        // runs. Threads do not spin, since runs are short and rare.
        let options = SessionOptions { prepack: false, spin: false, ..SessionOptions::default() };
        let open = |name: &str| session::open(&runtime, &folder.join(name), &options);
        Ok(Self { encoder: open(ENCODER)?, decoder: open(DECODER)? })
    }

    /// The encoder's hidden states, `[documents, length, hidden]`.
    pub fn encode(&mut self, source: &Source) -> Result<Floats> {
        let mut run = || -> ort::Result<Floats> {
            let ids = Tensor::from_array((source.shape, source.ids.clone()))?;
            let mask = Tensor::from_array((source.shape, source.mask.clone()))?;
            let mut inputs = ort::inputs![names::INPUT_IDS => ids, names::ATTENTION_MASK => mask];
            if let Some(global) = &source.global_attention_mask {
                let global = Tensor::from_array((source.shape, global.clone()))?;
                inputs.push((names::GLOBAL_ATTENTION_MASK.into(), global.into()));
            }
            let outputs = self.encoder.run(inputs)?;
            floats(&outputs[names::LAST_HIDDEN_STATE])
        };
        run().map_err(|error| failed("in the encoder", &error))
    }

    /// The logits behind each of `tokens`, `[documents, tokens, vocab]`. Each document has the same
    /// number of tokens. Updates the cache, which is empty at first.
    pub fn decode(
        &mut self,
        (source, hidden_states): (&Source, &Floats),
        tokens: &[i64],
        cache: &mut Cache,
    ) -> Result<Floats> {
        let mut run = || -> ort::Result<Floats> {
            let documents = source.shape[0];
            let shape = [documents, tokens.len() / documents];
            let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
                (names::INPUT_IDS.into(), Tensor::from_array((shape, tokens.to_vec()))?.into()),
                (
                    names::ENCODER_ATTENTION_MASK.into(),
                    Tensor::from_array((source.shape, source.mask.clone()))?.into(),
                ),
                (names::ENCODER_HIDDEN_STATES.into(), tensor(hidden_states)?),
                (
                    names::USE_CACHE_BRANCH.into(),
                    Tensor::from_array(([1], vec![!cache.is_empty()]))?.into(),
                ),
            ];
            let layers = self.layers();
            for layer in 0..layers {
                for (place, part) in names::PARTS.into_iter().enumerate() {
                    let name = names::past(layer, part);
                    let value = match cache.get(layer) {
                        Some(held) => tensor(&held[place])?,
                        None => tensor(&empty(documents))?,
                    };
                    inputs.push((name, value));
                }
            }
            let outputs = self.decoder.run(SessionInputs::from(inputs))?;
            let had = !cache.is_empty();
            cache.resize(layers, Default::default());
            for (layer, held) in cache.iter_mut().enumerate() {
                for (place, part) in names::PARTS.into_iter().enumerate() {
                    if !(had && part.is_cross()) {
                        held[place] = floats(&outputs[names::present(layer, part).as_str()])?;
                    }
                }
            }
            floats(&outputs[names::LOGITS])
        };
        run().map_err(|error| failed("in the decoder", &error))
    }

    fn layers(&self) -> usize {
        let name = |layer| names::past(layer, names::Part::Key);
        (0..)
            .take_while(|&layer| {
                let inputs = self.decoder.inputs().iter();
                inputs.into_iter().any(|input| input.name() == name(layer))
            })
            .count()
    }
}

/// A placeholder for missing past keys and values, which must not be read: one position, with
/// another head size.
fn empty(documents: usize) -> Floats {
    Floats { shape: vec![documents, 1, 1, 1], values: vec![f32::NAN; documents] }
}

fn tensor(floats: &Floats) -> ort::Result<SessionInputValue<'static>> {
    Ok(Tensor::from_array((floats.shape.clone(), floats.values.clone()))?.into())
}

fn floats(value: &ort::value::DynValue) -> ort::Result<Floats> {
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok(Floats { shape: shape.iter().map(|&dim| dim as usize).collect(), values: values.to_vec() })
}

fn failed(during: &str, error: &ort::Error) -> Error {
    Error::Runtime(epitome_runtime::Error::OnnxRuntime {
        during: during.into(),
        message: error.to_string(),
    })
}
