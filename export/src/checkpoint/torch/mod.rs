//! `pytorch_model.bin`, the format of `torch.save`: a zip archive since PyTorch 1.6, and a plain
//! sequence before. No code in it is ever run.
//!
//! See `torch/serialization.py` and PyTorch's *Serialization semantics*,
//! <https://pytorch.org/docs/stable/notes/serialization.html>.

mod archive;
mod contents;
mod legacy;
mod pickle;
mod zip;

use std::ops::Range;

use super::strided::{DType, Layout, Located};
use crate::{Error, Result};
use pickle::{Fault, TensorSpec};

#[cfg(test)]
pub(crate) use pickle::tests::SNIPPETS;

/// Reads the tensors of the file `bytes`. `file` is its name for messages.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Located)>> {
    let (specs, storages) = if bytes.starts_with(zip::LOCAL) {
        archive::read(bytes)
    } else if pickle::is_legacy(bytes) {
        legacy::read(bytes)
    } else {
        Err(Fault::Malformed(neither(bytes).to_owned()))
    }
    .map_err(|fault| error(file, fault))?;
    specs
        .into_iter()
        .map(|(name, spec)| {
            let storage = storages.get(&spec.storage).cloned();
            let storage = storage.unwrap_or(Err("refers to a storage that the file lacks"));
            match storage.map_err(str::to_owned).and_then(|range| locate(range, spec)) {
                Ok(located) => Ok((name, located)),
                Err(problem) => Err(Error::BadTensor { file: file.to_owned(), name, problem }),
            }
        })
        .collect()
}

fn error(file: &str, fault: Fault) -> Error {
    let file = file.to_owned();
    match fault {
        Fault::Global(global) => Error::PickleGlobal { file, global },
        Fault::NotATensor { name, kind } => Error::NotATensor { file, name, kind },
        Fault::Malformed(problem) => Error::Weights { file, problem },
    }
}

/// Location in the file of the tensor `spec`, whose storage has the bytes `storage`.
fn locate(storage: Range<usize>, spec: TensorSpec) -> Result<Located, String> {
    let layout = Layout::strided(spec.dtype, spec.shape, spec.strides)?;
    let too_small = "goes beyond the end of its storage";
    let bytes = |elements: usize, dtype: DType| elements.checked_mul(dtype.size()).ok_or(too_small);
    if bytes(spec.storage_len, spec.storage_type)? > storage.len() {
        return Err("has a storage that was cut short".to_owned());
    }
    let offset = bytes(spec.offset, layout.dtype())?;
    let end = offset.checked_add(layout.span_bytes()).ok_or(too_small)?;
    if end > storage.len() {
        return Err(too_small.to_owned());
    }
    Ok(Located { layout, start: storage.start + offset })
}

/// The end of a sentence about a `.bin` file that `torch.save` did not write.
fn neither(bytes: &[u8]) -> &'static str {
    if bytes.get(257..262) == Some(b"ustar") {
        "is in the tar format of PyTorch before version 0.1.10: convert it with \
         torch.save(torch.load(FILE, weights_only=True), FILE) of a newer PyTorch"
    } else if bytes.first() == Some(&0x80) {
        "is a pickle that torch.save did not write: save model.state_dict() with torch.save"
    } else if bytes.starts_with(b"<") {
        "is a web page, not weights: fetch it again"
    } else {
        "is not a file that torch.save wrote (no zip header): fetch it again"
    }
}
