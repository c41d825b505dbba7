//! Verifies an export: it loads, its numbers are finite, and decoding with the cache equals
//! decoding the same tokens at once.

use std::path::Path;

use epitome_runtime::Progress;
use epitome_runtime::bundle::ModelShape;
use epitome_runtime::library::OnnxRuntime;

use super::sessions::{Cache, Sessions, Source};
use crate::error::Result;
use crate::verify::{TOLERANCE, compare, interruptible, probe_token};

/// Numbers of tokens of both probe documents.
const SOURCES: [usize; 2] = [12, 7];
/// Number of tokens that each step decodes.
const STEPS: [usize; 3] = [1, 2, 1];

/// Verifies the export in `folder`. Returns the version of ONNX Runtime.
pub(crate) fn verify(folder: &Path, shape: &ModelShape, progress: &dyn Progress) -> Result<String> {
    let runtime = OnnxRuntime::load().map_err(epitome_runtime::Error::from)?;
    let mut sessions = Sessions::open(folder)?;
    interruptible(progress)?;
    let source = source(shape);
    let hidden_states = sessions.encode(&source)?;
    interruptible(progress)?;
    let source = (&source, &hidden_states);
    let documents = SOURCES.len();
    let steps: &[usize] = match shape.max_target_positions {
        Some(0..4) => &STEPS[..1],
        _ => &STEPS,
    };
    let length = steps.iter().sum::<usize>();
    let token = |document: usize, place: usize| {
        i64::from(probe_token(document * length + place, shape.vocab_size))
    };
    let tokens = |from: usize, to: usize| -> Vec<i64> {
        let row = |document| (from..to).map(move |place| token(document, place));
        (0..documents).flat_map(row).collect()
    };
    let at_once = sessions.decode(source, &tokens(0, length), &mut Cache::new())?;
    let mut cache = Cache::new();
    let mut from = 0;
    for count in steps {
        let to = from + count;
        let found = sessions.decode(source, &tokens(from, to), &mut cache)?;
        let vocab = shape.vocab_size;
        for document in 0..documents {
            let expected = &at_once.values[(document * length + from) * vocab..][..count * vocab];
            let found = &found.values[document * count * vocab..][..count * vocab];
            compare(found, expected, TOLERANCE)?;
        }
        interruptible(progress)?;
        from = to;
    }
    Ok(runtime.version().to_owned())
}

fn source(shape: &ModelShape) -> Source {
    let lengths = SOURCES.map(|length| length.min(shape.max_source_positions));
    let longest = lengths[0];
    let vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
    let cells =
        lengths.iter().flat_map(|length| (0..longest).map(move |place| i64::from(place < *length)));
    Source {
        shape: [lengths.len(), longest],
        ids: (0..lengths.len() * longest)
            .map(|place| i64::from(probe_token(place, vocab_size)))
            .collect(),
        mask: cells.collect(),
        global_attention_mask: None,
    }
}
