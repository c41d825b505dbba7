//! `pytorch_model.bin`: the zip archive that `torch.save` writes since PyTorch 1.6.
//!
//! Under one folder it holds `data.pkl`, the pickled dictionary, whose tensors refer to the entries
//! `data/0`, `data/1`, … by name; each is one storage, uncompressed. `byteorder` says how values
//! are stored (little-endian where it is missing). See `torch/serialization.py` and PyTorch's
//! *Serialization semantics*, <https://pytorch.org/docs/stable/notes/serialization.html>.
//! Checksums are not verified, as PyTorch does not: what transports a file does that.

use super::pickle::{self, Fault, TensorSpec};
use super::zip::{self, Zip};
use super::{DType, Layout, Located};
use crate::{Error, Result};

/// The tensors of the file `bytes`, called `file` in messages.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Located)>> {
    let weights = |problem: &str| Error::Weights {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    if !bytes.starts_with(zip::LOCAL) {
        return Err(weights(not_a_zip(bytes)));
    }
    let zip = Zip::open(bytes).map_err(weights)?;
    let folder = zip
        .names()
        .iter()
        .find_map(|name| {
            name.strip_suffix("data.pkl")
                .filter(|folder| folder.ends_with('/'))
        })
        .ok_or_else(|| weights("is a zip archive without data.pkl: torch.save did not write it"))?;
    if zip
        .range(&format!("{folder}constants.pkl"))
        .map_err(weights)?
        .is_some()
    {
        return Err(weights(
            "is a TorchScript program, not weights: save model.state_dict() with torch.save",
        ));
    }
    let byte_order = zip
        .contents(&format!("{folder}byteorder"))
        .map_err(weights)?;
    if byte_order.is_some_and(|order| order != b"little") {
        return Err(weights(
            "was written big-endian: save it again on a little-endian machine",
        ));
    }
    let program = zip
        .contents(&format!("{folder}data.pkl"))
        .map_err(weights)?
        .ok_or_else(|| weights("lacks data.pkl"))?;
    let specs = pickle::read_state_dict(program).map_err(|fault| match fault {
        Fault::Global(global) => Error::PickleGlobal {
            file: file.to_owned(),
            global,
        },
        Fault::NotATensor { name, kind } => Error::NotATensor {
            file: file.to_owned(),
            name,
            kind,
        },
        Fault::Malformed(problem) => Error::Weights {
            file: file.to_owned(),
            problem,
        },
    })?;
    specs
        .into_iter()
        .map(|(name, spec)| match locate(&zip, folder, spec) {
            Ok(located) => Ok((name, located)),
            Err(problem) => Err(Error::BadTensor {
                file: file.to_owned(),
                name,
                problem,
            }),
        })
        .collect()
}

/// Where in the file the tensor of `spec` lies.
fn locate(zip: &Zip<'_>, folder: &str, spec: TensorSpec) -> Result<Located, String> {
    let storage = zip
        .range(&format!("{folder}data/{}", spec.storage))?
        .ok_or("refers to a storage that the file lacks")?;
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
    Ok(Located {
        layout,
        start: storage.start + offset,
    })
}

/// What a `.bin` is that does not begin as a zip archive, to follow its name.
fn not_a_zip(bytes: &[u8]) -> &'static str {
    const CONVERT: &str = "is in PyTorch's old format, from before version 1.6: convert it with \
        torch.save(torch.load(FILE, weights_only=True), FILE) of a newer PyTorch";
    let old_pickle = bytes.first() == Some(&0x80);
    let old_tar = bytes.get(257..262) == Some(b"ustar");
    if old_pickle || old_tar {
        CONVERT
    } else if bytes.starts_with(b"<") {
        "is a web page, not weights: fetch it again"
    } else {
        "is not a file that torch.save wrote (no zip header): fetch it again"
    }
}
