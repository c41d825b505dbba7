//! Embedding tables of a base, which are stored once and used under several names.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, Stored};

/// The modules whose tables a model ties, below the prefix of all its names; the head has none.
const INPUTS: [&str; 3] = ["shared", "encoder.embed_tokens", "decoder.embed_tokens"];
const HEAD: &str = "lm_head";
/// What is added to the logits of some models, `[1, rows of the head]`.
const LOGITS_BIAS: &str = "final_logits_bias";

/// The names of the tables, as tensors of the base.
#[derive(Default)]
pub(super) struct Tables {
    /// Those that tokens are looked up in.
    inputs: Vec<String>,
    /// The one that gives the logits.
    head: Option<String>,
}

impl Tables {
    /// Gives every table of the base its own name, where one of the `changed` modules is a table:
    /// what changes one of them is then no change of the others.
    pub(super) fn untie<'a>(
        base: &mut Checkpoint,
        mut changed: impl Iterator<Item = &'a String>,
    ) -> Self {
        let Some(prefix) = prefix(base) else {
            return Self::default();
        };
        // FSMT has no table that is shared, and another name for the head.
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
        // The decoder's before the encoder's, which is another one in a model that ties only these.
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

    /// Whether this is the name of a table.
    pub(super) fn has(&self, name: &str) -> bool {
        self.inputs.iter().chain(&self.head).any(|table| table == name)
    }

    /// Whether this is the name of the table that others are tied to.
    pub(super) fn is_shared(&self, name: &str) -> bool {
        self.inputs.first().is_some_and(|shared| shared == name && name.contains(INPUTS[0]))
    }

    /// Where the adapter `brings` tables of another length than the base's, which were resized
    /// before it was trained: gives all others the same length, as `resize_token_embeddings` does.
    /// Those that are tied become what the adapter has for the shared one.
    ///
    /// Fails with the name of a table that the adapter should have brought.
    pub(super) fn resize(
        &self,
        base: &mut Checkpoint,
        brings: &BTreeMap<String, Stored>,
    ) -> Result<(), String> {
        let tables: Vec<&String> =
            self.inputs.iter().chain(&self.head).filter(|name| base.has(name)).collect();
        // Rows of the base's width, so that there are no more than the adapter's file holds.
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

    /// The other tables that PEFT changes along with `name`, when tokens were trained.
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

/// What all names of the base begin with: `model.` for most, nothing for T5.
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
