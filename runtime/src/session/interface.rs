//! Checks that the graphs have the inputs and outputs that the bundle's manifest describes.
//!
//! The manifest gives the sizes of the buffers that operators read and write. So the declarations
//! of the graphs are compared with the manifest before a buffer is allocated or bound.

use std::path::Path;

use ort::session::Session;
use ort::value::TensorElementType::{self, Float32, Int32, Int64};
use ort::value::{Outlet, ValueType};

use super::cross_kv::{ELEMENTS, packed_rows};
use crate::bundle::{ModelShape, io};
use crate::error::{Error, Result};

/// An expected input or output. A dimension is `None` if it varies or does not matter.
struct ValueInfo {
    name: String,
    element_type: TensorElementType,
    dims: Vec<Option<usize>>,
}

impl ValueInfo {
    fn new<const N: usize>(
        name: impl Into<String>,
        element_type: TensorElementType,
        dims: [Option<usize>; N],
    ) -> Self {
        Self { name: name.into(), element_type, dims: dims.to_vec() }
    }

    fn matches(&self, outlet: &Outlet) -> bool {
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return false;
        };
        let fits = |(expected, found): (&Option<usize>, &i64)| match expected {
            Some(size) => usize::try_from(*found) == Ok(*size),
            None => true,
        };
        self.element_type == *ty
            && shape.len() == self.dims.len()
            && self.dims.iter().zip(shape.iter()).all(fits)
    }
}

/// One input or output of every decoder layer.
fn each_layer<const N: usize>(
    shape: &ModelShape,
    name: fn(usize) -> String,
    element_type: TensorElementType,
    dims: [Option<usize>; N],
) -> impl Iterator<Item = ValueInfo> {
    (0..shape.decoder_layers).map(move |layer| ValueInfo::new(name(layer), element_type, dims))
}

/// Checks the encoder.
pub(super) fn check_encoder(session: &Session, path: &Path, shape: &ModelShape) -> Result<()> {
    let value = |name, element_type| ValueInfo::new(name, element_type, [None, None]);
    let global = shape.global_attention.then(|| value(io::GLOBAL_ATTENTION_MASK, Int32));
    let inputs = [value(io::INPUT_IDS, Int64), value(io::ATTENTION_MASK, Int32)];
    let inputs = inputs.into_iter().chain(global);
    let hidden = [None, None, Some(shape.hidden_size)];
    let outputs = std::iter::once(ValueInfo::new(io::LAST_HIDDEN_STATE, Float32, hidden));
    check(path, "input", session.inputs(), inputs)?;
    check(path, "output", session.outputs(), outputs.chain(cross(shape, session.outputs())))
}

/// Checks the decoder.
pub(super) fn check_decoder(session: &Session, path: &Path, shape: &ModelShape) -> Result<()> {
    let past = [Some(shape.heads), None, Some(shape.head_size)];
    let inputs = [
        ValueInfo::new(io::INPUT_IDS, Int64, [None, Some(1)]),
        ValueInfo::new(io::PAST_LENGTH, Int32, [None, Some(1)]),
        ValueInfo::new(io::CACHE_INDIRECTION, Int32, [None, None]),
        ValueInfo::new(io::SOURCES, Int32, [None, Some(3)]),
    ]
    .into_iter()
    .chain(each_layer(shape, io::past_key, Float32, past))
    .chain(each_layer(shape, io::past_value, Float32, past))
    .chain(cross(shape, session.inputs()));
    let logits = ValueInfo::new(io::LOGITS, Float32, [None, Some(shape.vocab_size)]);
    let outputs = std::iter::once(logits)
        .chain(each_layer(shape, io::present_key, Float32, past))
        .chain(each_layer(shape, io::present_value, Float32, past));
    check(path, "input", session.inputs(), inputs)?;
    check(path, "output", session.outputs(), outputs)
}

/// Element type of the keys and values of the cross-attention: that of the first key, or float32 if
/// this is not one of [`ELEMENTS`].
pub(super) fn cross_element_type(outlets: &[Outlet]) -> TensorElementType {
    let first = io::cross_key(0);
    let first = outlets.iter().find(|outlet| outlet.name() == first).and_then(declared);
    let element_type = first.map(|(element_type, _)| element_type);
    element_type.filter(|it| ELEMENTS.contains(it)).unwrap_or(Float32)
}

/// Packed keys and values of the cross-attention.
fn cross(shape: &ModelShape, found: &[Outlet]) -> impl Iterator<Item = ValueInfo> {
    let element_type = cross_element_type(found);
    let [key, value] = packed_rows(element_type, shape.head_size)
        .map(|row| [None, Some(shape.heads), None, Some(row)]);
    let keys = each_layer(shape, io::cross_key, element_type, key);
    keys.chain(each_layer(shape, io::cross_value, element_type, value))
}

/// Checks that encoder and decoder declare the same keys and values of the cross-attention.
pub(super) fn check_cross(encoder: &Session, decoder: &Session, path: &Path) -> Result<()> {
    let differs = |input: &&Outlet| {
        let output = encoder.outputs().iter().find(|one| one.name() == input.name());
        output.is_some_and(|output| declared(output) != declared(input))
    };
    match decoder.inputs().iter().find(differs) {
        None => Ok(()),
        Some(input) => Err(mismatch(path, "input", input.name())),
    }
}

fn declared(outlet: &Outlet) -> Option<(TensorElementType, &[i64])> {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => Some((*ty, shape)),
        _ => None,
    }
}

/// Compares all inputs or all outputs of a graph with the expected ones.
fn check(
    path: &Path,
    kind: &'static str,
    found: &[Outlet],
    expected: impl Iterator<Item = ValueInfo>,
) -> Result<()> {
    let mut count = 0;
    for value in expected {
        match found.iter().find(|outlet| outlet.name() == value.name) {
            Some(outlet) if value.matches(outlet) => count += 1,
            _ => return Err(mismatch(path, kind, &value.name)),
        }
    }
    if found.len() == count {
        return Ok(());
    }
    Err(Error::Interface {
        path: path.into(),
        problem: format!("has {} {kind}s, not {count}", found.len()),
    })
}

fn mismatch(path: &Path, kind: &str, name: &str) -> Error {
    Error::Interface {
        path: path.into(),
        problem: format!("has no {kind} '{name}' of that type and size"),
    }
}
