//! Goldens of transformers' own forward pass, and the differences of results from them.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use epitome_runtime::generation::GlobalAttentionMask;
use safetensors::SafeTensors;

use super::{fixture, tiny_checkpoints};

/// Largest difference from transformers that float32 rounding causes.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// A file of goldens.
pub(crate) struct Golden<'a>(pub(crate) SafeTensors<'a>);

impl Golden<'_> {
    /// The golden file of a tiny checkpoint.
    pub(crate) fn bytes(name: &str) -> Vec<u8> {
        let path = fixture(format!("goldens/{name}.forward.safetensors"));
        fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    /// The groups of inputs in the file: the shortest and the longest source, a batch with padding,
    /// and lengths that matter for the architecture.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let names = self.0.names();
        let groups = names.into_iter().filter_map(|name| name.strip_suffix(".input_ids"));
        let mut groups: Vec<_> = groups.filter(|name| !name.contains('.')).collect();
        groups.sort_unstable();
        for needed in ["batch", "limit", "one", "two"] {
            assert!(groups.contains(&needed), "no group '{needed}'");
        }
        groups
    }

    pub(crate) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensor = self.0.tensor(name).expect(name);
        let floats =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (tensor.shape().to_vec(), floats.collect())
    }

    /// The tokens with global attention in each document of a group.
    pub(crate) fn global_attention_masks(
        &self,
        group: &str,
        documents: usize,
    ) -> Vec<GlobalAttentionMask> {
        let name = format!("{group}.global_attention_mask");
        if self.0.tensor(&name).is_err() {
            return vec![GlobalAttentionMask::none(); documents];
        }
        let mask = |row: Vec<u32>| {
            let numbers: Vec<_> = row.iter().map(u32::to_string).collect();
            numbers.join(",").parse().unwrap()
        };
        self.rows(&name).into_iter().map(mask).collect()
    }

    /// Rows of a matrix of integers.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<u32>> {
        let tensor = self.0.tensor(name).expect(name);
        let numbers =
            tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        let numbers: Vec<u32> = numbers.map(|number| number as u32).collect();
        numbers.chunks(tensor.shape()[1]).map(<[u32]>::to_vec).collect()
    }
}

/// The largest differences of a checkpoint's results.
#[derive(Default)]
pub(crate) struct Differences {
    pub(crate) compared: usize,
    pub(crate) hidden_states: f32,
    pub(crate) logits: f32,
    /// Position of the largest difference.
    pub(crate) place: String,
}

impl Differences {
    pub(crate) fn worst(&self) -> f32 {
        self.hidden_states.max(self.logits)
    }

    pub(crate) fn take(
        &mut self,
        found: &[f32],
        expected: &[f32],
        place: impl Fn() -> String,
    ) -> f32 {
        assert_eq!(found.len(), expected.len(), "{}", place());
        self.compared += found.len();
        let worst = found
            .iter()
            .zip(expected)
            // A NaN differs from every number.
            .map(|(a, b)| if a.is_nan() { f32::INFINITY } else { (a - b).abs() })
            .fold(0.0, f32::max);
        if worst > self.worst() {
            self.place = place();
        }
        worst
    }
}

/// Compares the bundle of every tiny checkpoint with its golden.
pub(crate) fn every_checkpoint_agrees<B: AsRef<Path>, E: Display>(
    bundle: impl Fn(&str) -> Result<B, E>,
    compare: impl Fn(&Path, &Golden<'_>) -> Differences,
) {
    let mut compared = 0;
    let mut failures = Vec::new();
    for name in tiny_checkpoints("") {
        let bundle = match bundle(&name) {
            Ok(bundle) => bundle,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let bytes = Golden::bytes(&name);
        let golden = Golden(SafeTensors::deserialize(&bytes).unwrap());
        let differences = compare(bundle.as_ref(), &golden);
        let (hidden_states, logits) = (differences.hidden_states, differences.logits);
        println!("{name}: hidden states within {hidden_states:.1e}, logits within {logits:.1e}");
        compared += differences.compared;
        if differences.worst() > TOLERANCE {
            let (worst, place) = (differences.worst(), differences.place);
            failures.push(format!("{name}: {place} differs by {worst}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 100_000, "only {compared} numbers were compared");
}
