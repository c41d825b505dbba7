//! Embedding tables of a base: one stored tensor may have several names.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, Stored};

/// Modules with tied tables, below the prefix of all names. The head has no prefix.
const INPUTS: [&str; 3] = ["shared", "encoder.embed_tokens", "decoder.embed_tokens"];
const HEAD: &str = "lm_head";
/// Bias of the logits of some models, `[1, rows of the head]`.
const LOGITS_BIAS: &str = "final_logits_bias";

/// Tensor names of the tables in the base.
#[derive(Default)]
pub(super) struct Tables {
    /// Input embeddings.
    inputs: Vec<String>,
    /// The output table.
    head: Option<String>,
}

impl Tables {
    /// Gives every table of the base a tensor of its own if one of the `changed` modules is a
    /// table, so that a change of one table does not change the others.
    pub(super) fn untie<'a>(
        base: &mut Checkpoint,
        mut changed: impl Iterator<Item = &'a String>,
    ) -> Self {
        let Some(prefix) = prefix(base) else {
            return Self::default();
        };
        // FSMT has no shared table, and another name for the head.
        let fsmt = base.config().get("model_type").is_some_and(|kind| kind == "fsmt");
        let (inputs, head) = match fsmt {
            true => (&INPUTS[1..], format!("{prefix}decoder.output_projection.weight")),
            false => (&INPUTS[..], format!("{HEAD}.weight")),
        };
        let tensor = |module: &&str| format!("{prefix}{module}.weight");
        let tables = Self { inputs: inputs.iter().map(tensor).collect(), head: Some(head) };
        let is_table = |name: &String| {
            let name = name.strip_suffix(".weight").unwrap_or(name);
            name == HEAD
                || name.ends_with("output_projection")
                || INPUTS.iter().any(|table| name.ends_with(table))
        };
        if !changed.any(is_table) {
            return tables;
        }
        // The decoder's table comes before the encoder's, which differs in models that tie only the
        // decoder and the head.
        let order: Vec<String> = [0, 2, 1]
            .into_iter()
            .map(|at| format!("{prefix}{}.weight", INPUTS[at]))
            .chain(tables.head.clone())
            .collect();
        let present = order.iter().find(|name| base.stored(name).is_some());
        if let Some(stored) = present.and_then(|name| base.stored(name)).cloned() {
            for name in tables.inputs.iter().chain(&tables.head) {
                if !base.has(name) {
                    base.replace(name.clone(), stored.clone());
                }
            }
        }
        tables
    }

    /// Whether `name` is a table.
    pub(super) fn has(&self, name: &str) -> bool {
        self.inputs.iter().chain(&self.head).any(|table| table == name)
    }

    /// Whether `name` is the table that others are tied to.
    pub(super) fn is_shared(&self, name: &str) -> bool {
        self.inputs.first().is_some_and(|shared| shared == name && name.contains(INPUTS[0]))
    }

    /// Resizes all tables, as `resize_token_embeddings` does, if the adapter `brings` tables of
    /// another length than the base's. Tied tables become the adapter's shared one.
    ///
    /// Fails with the name of a table that is missing in the adapter.
    pub(super) fn resize(
        &self,
        base: &mut Checkpoint,
        brings: &BTreeMap<String, Stored>,
    ) -> Result<(), String> {
        let tables: Vec<&String> =
            self.inputs.iter().chain(&self.head).filter(|name| base.has(name)).collect();
        // Only tables with the width of the base count: their number of rows is limited by the
        // adapter's file.
        let resized = tables.iter().find_map(|name| {
            match (brings.get(*name)?.layout().shape(), base.tensor(name)?.shape()) {
                (&[rows, width], &[own, of_base])
                    if width == of_base && width > 0 && rows != own =>
                {
                    Some(rows)
                }
                _ => None,
            }
        });
        let Some(rows) = resized else {
            return Ok(());
        };
        let shared = self.inputs.first().and_then(|shared| brings.get(shared));
        let untied = base.config().get("tie_word_embeddings") == Some(&false.into());
        for name in tables {
            if brings.contains_key(name) || base.rows(name) == Some(rows) {
                continue;
            }
            match shared {
                Some(shared) if !(untied && self.head.as_ref() == Some(name)) => {
                    base.replace(name.clone(), shared.clone());
                }
                _ => return Err(name.clone()),
            }
        }
        if base.has(LOGITS_BIAS) {
            base.resize(LOGITS_BIAS, rows);
        }
        base.set_vocab_size(rows);
        Ok(())
    }

    /// Other tables that PEFT changes with `name`, if tokens were trained.
    pub(super) fn tied_to(&self, base: &Checkpoint, name: &str) -> Vec<String> {
        if !self.inputs.iter().any(|input| input == name) {
            return Vec::new();
        }
        let untied = base.config().get("tie_word_embeddings") == Some(&false.into());
        let head = self.head.iter().filter(|_| !untied);
        let others = self.inputs.iter().chain(head);
        others.filter(|other| *other != name && base.has(other)).cloned().collect()
    }
}

/// Prefix of all names of the base: `model.` in most bases, empty for T5.
fn prefix(base: &Checkpoint) -> Option<String> {
    base.names().find_map(|name| {
        let module = name.strip_suffix(".weight")?;
        INPUTS
            .iter()
            .find_map(|input| module.strip_suffix(input))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .map(str::to_owned)
    })
}
