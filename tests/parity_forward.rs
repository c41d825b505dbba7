//! Encoder and decoder of every tiny checkpoint against transformers' own forward pass.

use std::fs;
use std::num::NonZeroUsize;

use crate::common::golden::{Differences, Golden, TOLERANCE, every_checkpoint_agrees};
use crate::common::{Exported, bundle_in, fixture, summarizer, with_threads};
use epitome_runtime::Summarizer;
use epitome_runtime::bundle::Precision;
use epitome_runtime::generation::GlobalAttentionMask;
use safetensors::SafeTensors;

#[test]
fn encoder_and_decoder_steps_equal_transformers() {
    let bundle = |name: &str| bundle_in(format!("tiny/{name}"), Precision::Fp32);
    every_checkpoint_agrees(bundle, |bundle, golden| {
        // Two threads, so that every architecture once runs with shared work.
        let mut summarizer = with_threads(bundle, NonZeroUsize::new(2).unwrap());
        let mut differences = Differences::default();
        for group in golden.groups() {
            compare_group(&mut summarizer, golden, group, &mut differences);
        }
        differences
    });
}

/// Changes the name of the activation function in the config.json of one checkpoint. Verification
/// checks that the tokens of a draft are computed bit for bit like single ones, with every
/// function.
#[test]
fn every_activation_function_equals_transformers() {
    let bytes = fs::read(fixture("goldens/activations.safetensors")).unwrap();
    let golden = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let source = golden.rows("input_ids").remove(0);
    let mut failures = Vec::new();
    for name in golden.0.names() {
        if name == "input_ids" {
            continue;
        }
        let checkpoint = tempfile::tempdir().unwrap();
        for file in fs::read_dir(fixture("tiny/t5-relu")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), checkpoint.path().join(file.file_name())).unwrap();
        }
        let config = checkpoint.path().join("config.json");
        let mut fields: serde_json::Value =
            serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        fields["feed_forward_proj"] = name.into();
        fs::write(&config, fields.to_string()).unwrap();
        let exported = match Exported::attempt(checkpoint.path()) {
            Ok(exported) => exported,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut summarizer = summarizer(&exported);
        let (encoder, _) = summarizer.sessions();
        let hidden = encoder.hidden_states(&[(&source, &GlobalAttentionMask::none())]).unwrap();
        let (_, expected) = golden.floats(name);
        let worst = Differences::default().take(&hidden, &expected, || name.into());
        if worst > TOLERANCE {
            failures.push(format!("{name} differs by {worst}"));
        }
        if let Err(error) = Exported::with_precision(checkpoint.path(), Precision::Int8) {
            failures.push(format!("{name}, int8: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn compare_group(
    summarizer: &mut Summarizer,
    golden: &Golden<'_>,
    group: &str,
    differences: &mut Differences,
) {
    let ids = golden.rows(&format!("{group}.input_ids"));
    let masks = golden.rows(&format!("{group}.attention_mask"));
    let sources: Vec<&[u32]> = ids
        .iter()
        .zip(&masks)
        .map(|(ids, mask)| &ids[..mask.iter().filter(|&&m| m == 1).count()])
        .collect();
    let masks = golden.global_attention_masks(group, sources.len());
    let sources: Vec<_> = sources.into_iter().zip(&masks).collect();
    let (encoder, decoder) = summarizer.sessions();

    let (shape, expected) = golden.floats(&format!("{group}.encoder_last_hidden_state"));
    let hidden = encoder.hidden_states(&sources).unwrap();
    let row = shape[1] * shape[2];
    for (document, (source, _)) in sources.iter().enumerate() {
        let range = document * row..document * row + source.len() * shape[2];
        let worst = differences.take(&hidden[range.clone()], &expected[range], || {
            format!("{group}: encoder, document {document}")
        });
        differences.hidden_states = differences.hidden_states.max(worst);
    }

    let encode = |&(source, mask): &_| encoder.encode_with(source, mask).unwrap();
    let memories = sources.iter().map(encode).collect();
    let tokens = golden.rows(&format!("{group}.decoder_input_ids"));
    let (shape, expected) = golden.floats(&format!("{group}.logits"));
    let (steps, vocab) = (shape[1], shape[2]);
    let mut decoding = decoder.start_with(memories, 1).unwrap();
    for step in 0..steps {
        let newest: Vec<u32> = tokens.iter().map(|row| row[step]).collect();
        let logits = decoding.step_all(&newest, &vec![0; newest.len()]).unwrap();
        for (document, logits) in logits.chunks(vocab).enumerate() {
            let from = (document * steps + step) * vocab;
            let worst = differences.take(logits, &expected[from..from + vocab], || {
                format!("{group}: document {document}, step {step}")
            });
            differences.logits = differences.logits.max(worst);
        }
    }
}
