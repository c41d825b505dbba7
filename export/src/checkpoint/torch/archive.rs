//! The zip archive that `torch.save` writes since PyTorch 1.6.
//!
//! Its only folder holds `data.pkl`, the pickled dictionary, whose tensors refer to the entries
//! `data/0`, `data/1`, … by name. Each entry is one storage, uncompressed. `byteorder` is the
//! byte order of values, little-endian if it is missing. Like PyTorch, this reader does not verify
//! checksums.

use std::collections::HashMap;

use super::contents::{BIG_ENDIAN, Contents};
use super::pickle::{self, Fault};
use super::zip::Zip;

/// Reads the state dictionary of the archive `bytes`, and the locations of its storages.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let fault = |problem: &str| Fault::Malformed(problem.to_owned());
    let zip = Zip::open(bytes).map_err(fault)?;
    let folder = zip
        .names()
        .iter()
        .find_map(|name| name.strip_suffix("data.pkl").filter(|folder| folder.ends_with('/')))
        .ok_or_else(|| fault("is a zip archive without data.pkl: torch.save did not write it"))?;
    let contents = |name: &str| zip.contents(&format!("{folder}{name}")).map_err(fault);
    if contents("constants.pkl")?.is_some() {
        return Err(fault(
            "is a TorchScript program, not weights: save model.state_dict() with torch.save",
        ));
    }
    if contents("byteorder")?.is_some_and(|order| order != b"little") {
        return Err(fault(BIG_ENDIAN));
    }
    let program = contents("data.pkl")?.ok_or_else(|| fault("lacks data.pkl"))?;
    let specs = pickle::read_state_dict(program)?;
    let mut storages = HashMap::new();
    for (_, spec) in &specs {
        if !storages.contains_key(&spec.storage)
            && let Some(range) = zip.range(&format!("{folder}data/{}", spec.storage)).transpose()
        {
            storages.insert(spec.storage.clone(), range);
        }
    }
    Ok((specs, storages))
}
