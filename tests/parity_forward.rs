//! Encoder and decoder of every tiny checkpoint against transformers' own forward pass.

mod common;

use std::fs;

use common::{Exported, fixture, tiny_checkpoints};
use epitome_runtime::Summarizer;
use epitome_runtime::generation::StepModel;
use safetensors::SafeTensors;

/// Largest difference to transformers that float32 rounding may make.
const TOLERANCE: f32 = 1e-4;

/// The groups of inputs in a golden file.
const GROUPS: [&str; 4] = ["one", "two", "limit", "batch"];

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensor = self.0.tensor(name).expect(name);
        let floats = tensor
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (tensor.shape().to_vec(), floats.collect())
    }

    /// Rows of a matrix of integers.
    fn rows(&self, name: &str) -> Vec<Vec<u32>> {
        let tensor = self.0.tensor(name).expect(name);
        let numbers = tensor
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        let numbers: Vec<u32> = numbers.map(|number| number as u32).collect();
        numbers
            .chunks(tensor.shape()[1])
            .map(<[u32]>::to_vec)
            .collect()
    }
}

#[test]
fn encoder_and_decoder_steps_equal_transformers() {
    let mut compared = 0;
    for name in tiny_checkpoints("pegasus") {
        let path = fixture(format!("goldens/{name}.forward.safetensors"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let golden = Golden(SafeTensors::deserialize(&bytes).unwrap());
        let exported = Exported::of(format!("tiny/{name}"));
        let mut summarizer = Summarizer::open(exported.path()).unwrap();
        for group in GROUPS {
            compared += compare(&mut summarizer, &golden, group, &name);
        }
    }
    assert!(compared > 10_000, "only {compared} numbers were compared");
}

fn compare(summarizer: &mut Summarizer, golden: &Golden<'_>, group: &str, name: &str) -> usize {
    let ids = golden.rows(&format!("{group}.input_ids"));
    let masks = golden.rows(&format!("{group}.attention_mask"));
    let sources: Vec<&[u32]> = ids
        .iter()
        .zip(&masks)
        .map(|(ids, mask)| &ids[..mask.iter().filter(|&&m| m == 1).count()])
        .collect();
    let (encoder, decoder) = summarizer.sessions();

    let (shape, expected) = golden.floats(&format!("{group}.encoder_last_hidden_state"));
    let hidden = encoder.hidden_states(&sources).unwrap();
    let row = shape[1] * shape[2];
    for (document, source) in sources.iter().enumerate() {
        let range = document * row..document * row + source.len() * shape[2];
        close(
            &hidden[range.clone()],
            &expected[range],
            &format!("{name} {group}: encoder"),
        );
    }

    let memories = sources
        .iter()
        .map(|source| encoder.encode(source).unwrap())
        .collect();
    let tokens = golden.rows(&format!("{group}.decoder_input_ids"));
    let (shape, expected) = golden.floats(&format!("{group}.logits"));
    let (steps, vocab) = (shape[1], shape[2]);
    let mut decoding = decoder.start(memories, 1, steps).unwrap();
    for step in 0..steps {
        let newest: Vec<u32> = tokens.iter().map(|row| row[step]).collect();
        let logits = decoding.step(&newest, &vec![0; newest.len()]).unwrap();
        for (document, logits) in logits.chunks(vocab).enumerate() {
            let from = (document * steps + step) * vocab;
            close(
                logits,
                &expected[from..from + vocab],
                &format!("{name} {group}: step {step}"),
            );
        }
    }
    expected.len() + hidden.len()
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what} differs by {worst}");
}
