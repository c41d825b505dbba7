//! Merges adapters that PEFT trained into the weights of their base, while the weights stream.
//!
//! An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).
//! The names of its tensors are those of PEFT's modules: see `peft/utils/save_and_load.py`. The
//! result equals `PeftModel` at generation: a module that shares its weights with others in the
//! base changes alone, except for trained tokens, which PEFT ties. (`merge_and_unload` changes all
//! modules that share the weights, and so computes something else than training did.)

mod config;
mod names;
mod patterns;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use config::BaseName;
use config::{AdapterConfig, Lora, Method};
use names::Part;
use tables::Tables;

use crate::checkpoint::{ADAPTER_CONFIG, Axis, Change, Checkpoint, Stored, adapter_weights};
use crate::{Error, Result};

/// Reads the base of the adapter in `folder`.
pub(crate) fn base_name(folder: &Path) -> Result<BaseName> {
    Ok(AdapterConfig::read(folder)?.base)
}

/// Merges the adapter in `folder` into the base `checkpoint`.
pub(crate) fn merge(checkpoint: &mut Checkpoint, folder: &Path) -> Result<()> {
    let config = AdapterConfig::read(folder)?;
    let file = adapter_weights(folder)?;
    let mut modules: BTreeMap<String, Parts> = BTreeMap::new();
    let (mut whole, mut copies) = (Vec::new(), Vec::new());
    for (name, stored) in checkpoint.map(folder, file)? {
        match names::parse(&name) {
            Some((module, Part::Whole)) => whole.push((module, stored)),
            Some((module, Part::Copy)) => copies.push((format!("{module}.weight"), stored)),
            Some((_, Part::Unused)) => {}
            Some((module, part)) => {
                modules.entry(module).or_default().insert(part, stored);
            }
            None => {
                return Err(Error::BadTensor {
                    file: file.to_owned(),
                    name,
                    problem: "is not a tensor of LoRA, IA3 or trained tokens: merge the \
                              adapter with PEFT (merge_and_unload) and save that"
                        .to_owned(),
                });
            }
        }
    }
    let mut merger = Merger { checkpoint, file, tables: Tables::default() };
    let changed = modules.keys().chain(whole.iter().map(|(name, _)| name));
    merger.tables = Tables::untie(merger.checkpoint, changed);
    let mut whole: BTreeMap<String, Stored> = whole
        .into_iter()
        .map(|(name, stored)| (merger.find(&name, "").unwrap_or(name), stored))
        .collect();
    for (name, stored) in copies {
        if let Some(name) = merger.find(&name, "")
            && merger.tables.has(&name)
            && merger.checkpoint.rows(&name) != stored.layout().shape().first().copied()
        {
            whole.entry(name).or_insert(stored);
        }
    }
    merger.tables.resize(merger.checkpoint, &whole).map_err(|table| {
        let problem = "is missing, and tokens were added to the tables before training: save the \
                       adapter with save_pretrained(..., save_embedding_layers=True)";
        merger.bad(&table, problem)
    })?;
    for (name, stored) in whole {
        merger.checkpoint.replace(name, stored);
    }
    let with_tokens: Vec<String> = modules
        .iter()
        .filter(|(_, parts)| parts.contains_key(&Part::Tokens))
        .filter_map(|(module, _)| merger.find(module, ".weight"))
        .collect();
    for (module, parts) in &modules {
        match &config.method {
            Method::Lora(lora) => merger.lora(lora, module, parts)?,
            Method::Ia3 => merger.ia3(module, parts)?,
            Method::TrainableTokens => {}
        }
        if let Some(values) = parts.get(&Part::Tokens) {
            let indices = config.token_indices(module)?;
            merger.tokens(module, indices, values, &with_tokens)?;
        }
    }
    merger.checkpoint.note_adapter(file);
    Ok(())
}

/// An adapter's tensors for one module.
type Parts = BTreeMap<Part, Stored>;

/// Adds the changes of an adapter to its base.
struct Merger<'a> {
    checkpoint: &'a mut Checkpoint,
    /// The adapter's weights file.
    file: &'static str,
    tables: Tables,
}

impl Merger<'_> {
    /// `scale * B @ A`, for a linear layer or an embedding.
    fn lora(&mut self, lora: &Lora, module: &str, parts: &Parts) -> Result<()> {
        let magnitude = parts.get(&Part::Magnitude).cloned();
        let pairs = [
            (Part::LoraA, Part::LoraB, Axis::Rows),
            (Part::EmbeddingA, Part::EmbeddingB, Axis::Columns),
        ];
        for (a_part, b_part, axis) in pairs {
            let (a, b) = match (parts.get(&a_part), parts.get(&b_part)) {
                (Some(a), Some(b)) => (a.clone(), b.clone()),
                (None, None) => continue,
                _ => return Err(self.bad(module, "has only one of the two matrices of LoRA")),
            };
            let rank = lora.rank(module)?;
            let scale = lora.scale(module)?;
            // The matrices of an embedding belong to its transpose.
            let (a, b) = match axis {
                Axis::Rows => (a, b),
                Axis::Columns => (b.transposed(), a.transposed()),
            };
            let (target, shape) = self.target(module, "weight")?;
            let [rows, columns] = shape[..] else {
                return Err(self.bad(module, "changes a tensor that is not a matrix"));
            };
            let found = [a.layout().shape(), b.layout().shape()];
            if found != [[rank, columns].as_slice(), &[rows, rank]] {
                return Err(self.bad(
                    module,
                    &format!(
                        "has matrices of the shapes {:?} and {:?}, where the rank {rank} of \
                         {ADAPTER_CONFIG} and the base's {shape:?} ask for {:?} and {:?}",
                        found[0],
                        found[1],
                        [rank, columns],
                        [rows, rank]
                    ),
                ));
            }
            let norms = if axis == Axis::Rows { rows } else { columns };
            let magnitude = match (lora.dora, &magnitude) {
                (false, None) => None,
                (true, Some(stored)) if stored.layout().len() == norms => {
                    Some((stored.clone(), axis))
                }
                _ => {
                    return Err(self.bad(
                        module,
                        &format!(
                            "needs a lora_magnitude_vector of {norms} values exactly when \
                             {ADAPTER_CONFIG} sets use_dora"
                        ),
                    ));
                }
            };
            self.checkpoint.change(&target, Change::LowRank { a, b, scale, magnitude });
            if let Some(bias) = parts.get(&Part::LoraBias) {
                let (target, shape) = self.target(module, "bias")?;
                if bias.layout().shape() != shape {
                    return Err(self.bad(module, "has a bias that does not fit the base's"));
                }
                let values = bias.clone();
                self.checkpoint.change(&target, Change::Add { values, scale });
            }
        }
        Ok(())
    }

    /// Adds IA3's factors, for each output of a module or each input of a feed-forward module.
    fn ia3(&mut self, module: &str, parts: &Parts) -> Result<()> {
        let Some(factors) = parts.get(&Part::Ia3) else {
            return Ok(());
        };
        let (target, shape) = self.target(module, "weight")?;
        let axis = match (&shape[..], factors.layout().shape()) {
            (&[rows, _], &[found, 1]) if found == rows => Axis::Rows,
            (&[_, columns], &[1, found]) if found == columns => Axis::Columns,
            _ => return Err(self.bad(module, "has an ia3_l that does not fit the base's matrix")),
        };
        let change = || Change::Multiply { factors: factors.clone(), axis };
        self.checkpoint.change(&target, change());
        if axis == Axis::Rows
            && let Some(bias) = self.find(module, ".bias")
        {
            let (_, shape) = self.target(module, "bias")?;
            if shape.iter().product::<usize>() != factors.layout().len() {
                return Err(self.bad(module, "has an ia3_l that does not fit the base's bias"));
            }
            self.checkpoint.change(&bias, change());
        }
        Ok(())
    }

    /// Replaces rows of trained tokens in an embedding table, and in every table that is tied to it
    /// and has no rows of its own: if the table is the shared one, or the only one `with_tokens`.
    fn tokens(
        &mut self,
        module: &str,
        indices: &[usize],
        values: &Stored,
        with_tokens: &[String],
    ) -> Result<()> {
        let (target, shape) = self.target(module, "weight")?;
        let fits = match shape[..] {
            [rows, columns] => {
                values.layout().shape() == [indices.len(), columns]
                    && indices.iter().all(|&index| index < rows)
            }
            _ => false,
        };
        if !fits {
            return Err(self.bad(
                module,
                &format!(
                    "has trained tokens of the shape {:?}, which the {} indices of \
                     {ADAPTER_CONFIG} and the base's {shape:?} do not fit",
                    values.layout().shape(),
                    indices.len()
                ),
            ));
        }
        let mut targets = vec![target.clone()];
        if with_tokens.len() == 1 || self.tables.is_shared(&target) {
            let tied = self.tables.tied_to(self.checkpoint, &target);
            targets.extend(tied.into_iter().filter(|other| !with_tokens.contains(other)));
        }
        for target in targets {
            let change = Change::ReplaceRows { indices: indices.to_vec(), values: values.clone() };
            self.checkpoint.change(&target, change);
        }
        Ok(())
    }

    /// The base's tensor of a module: its name and shape.
    fn target(&self, module: &str, kind: &str) -> Result<(String, Vec<usize>)> {
        let name = self.find(module, &format!(".{kind}")).ok_or_else(|| {
            self.bad(
                module,
                &format!(
                    "changes a {kind} that the base lacks: give the base that it was trained on"
                ),
            )
        })?;
        let shape = self.checkpoint.tensor(&name).expect("a name that was found");
        let shape = shape.shape().to_vec();
        Ok((name, shape))
    }

    /// The base's name of a tensor. The base, or the base of the training, may have been saved
    /// without its head, and so without the first part of every name.
    fn find(&self, module: &str, suffix: &str) -> Option<String> {
        let name = format!("{module}{suffix}");
        let shorter = name.strip_prefix("model.").map(str::to_owned);
        let longer = format!("model.{name}");
        [Some(name), shorter, Some(longer)]
            .into_iter()
            .flatten()
            .find(|name| self.checkpoint.has(name))
    }

    fn bad(&self, module: &str, problem: &str) -> Error {
        Error::BadTensor {
            file: self.file.to_owned(),
            name: module.to_owned(),
            problem: problem.to_owned(),
        }
    }
}
