//! Compares the portable layout of every tiny checkpoint with transformers' own forward pass: all
//! tokens at once, and step by step over the cache.

use std::path::Path;

use crate::common::golden::{Differences, Golden, every_checkpoint_agrees};
use crate::common::{self, Exported, bundle};
use epitome_export::optimum::{Cache, Floats, Sessions, Source};
use epitome_export::{Error, ExportOptions};
use epitome_runtime::Summarizer;
use epitome_runtime::bundle::{Layout, Precision};
use epitome_runtime::generation::GlobalAttentionMask;

fn portable(name: &str) -> Result<Exported, Error> {
    let options = ExportOptions {
        layout: Layout::Optimum,
        global_attention_mask: Some(&GlobalAttentionMask::none()),
        ..ExportOptions::default()
    };
    Exported::attempt_with(format!("tiny/{name}"), &options)
}

#[test]
fn encoder_and_decoder_equal_transformers() {
    every_checkpoint_agrees(portable, |bundle, golden| {
        let mut sessions = Sessions::open(bundle).unwrap();
        let mut differences = Differences::default();
        for group in golden.groups() {
            compare_group(&mut sessions, golden, group, &mut differences);
        }
        differences
    });
}

fn compare_group(
    sessions: &mut Sessions,
    golden: &Golden<'_>,
    group: &str,
    differences: &mut Differences,
) {
    let matrix = |name: &str| {
        let rows = golden.rows(&format!("{group}.{name}"));
        let shape = [rows.len(), rows[0].len()];
        let cells: Vec<_> = rows.into_iter().flatten().map(i64::from).collect();
        (shape, cells)
    };
    let (shape, ids) = matrix("input_ids");
    let (_, mask) = matrix("attention_mask");
    let has_global = golden.0.tensor(&format!("{group}.global_attention_mask")).is_ok();
    let global_attention_mask = has_global.then(|| matrix("global_attention_mask").1);
    let source = Source { shape, ids, mask, global_attention_mask };
    let hidden_states = sessions.encode(&source).unwrap();
    let (expected_shape, expected) = golden.floats(&format!("{group}.encoder_last_hidden_state"));
    assert_eq!(hidden_states.shape, expected_shape, "{group}");
    // Values at padding positions are arbitrary.
    let tokens = |values: &[f32]| -> Vec<f32> {
        let rows = values.chunks(expected_shape[2]).zip(&source.mask);
        let rows = rows.filter(|(_, mask)| **mask == 1);
        rows.flat_map(|(row, _)| row.to_vec()).collect()
    };
    let worst = differences
        .take(&tokens(&hidden_states.values), &tokens(&expected), || format!("{group}: encoder"));
    differences.hidden_states = differences.hidden_states.max(worst);

    let ([documents, steps], tokens) = matrix("decoder_input_ids");
    let (shape, expected) = golden.floats(&format!("{group}.logits"));
    let memory = (&source, &hidden_states);
    let at_once = sessions.decode(memory, &tokens, &mut Cache::new()).unwrap();
    assert_eq!(at_once.shape, shape, "{group}");
    let worst = differences.take(&at_once.values, &expected, || format!("{group}: at once"));
    differences.logits = differences.logits.max(worst);

    let vocab = shape[2];
    let mut cache = Cache::new();
    for step in 0..steps {
        let newest: Vec<_> = tokens.iter().skip(step).step_by(steps).copied().collect();
        let logits: Floats = sessions.decode(memory, &newest, &mut cache).unwrap();
        let expected: Vec<_> = (0..documents)
            .flat_map(|document| &expected[(document * steps + step) * vocab..][..vocab])
            .copied()
            .collect();
        let place = || format!("{group}: step {step}");
        let worst = differences.take(&logits.values, &expected, place);
        differences.logits = differences.logits.max(worst);
    }
}

/// Callers of the graphs may omit the global attention mask, or give one that is longer than the
/// source.
#[test]
fn global_attention_is_the_exports_where_it_is_left_out() {
    let export = |mask: Option<&str>| {
        let mask = mask.map(|mask| mask.parse().unwrap());
        let options = ExportOptions {
            layout: Layout::Optimum,
            global_attention_mask: mask.as_ref(),
            ..ExportOptions::default()
        };
        let exported = Exported::attempt_with("tiny/led-windows", &options).unwrap();
        Sessions::open(exported.path()).unwrap()
    };
    let long = format!("1{}", ",0,1".repeat(30));
    let source = |global: Option<Vec<i64>>| Source {
        shape: [2, 9],
        ids: (20..38).collect(),
        mask: [1; 18].into(),
        global_attention_mask: global,
    };
    let first = |place: i64| i64::from(place % 9 == 0);
    let even = |place: i64| i64::from(place % 9 % 2 == 0);
    for (exported, said) in [
        (None, (0..18).map(first).collect()),
        (Some("first"), (0..18).map(first).collect()),
        (Some("none"), vec![0; 18]),
        (Some(long.as_str()), (0..18).map(even).collect()),
    ] {
        let left_out = export(exported).encode(&source(None)).unwrap();
        assert_eq!(left_out, export(Some("0,0,1")).encode(&source(Some(said))).unwrap());
    }
}

/// Both files of optimum's layout refer to the same weights. Most weights of a tiny model are
/// outside of the graphs, and no tensor is stored twice.
#[test]
fn weights_are_stored_once() {
    let name = "pegasus-relu";
    let portable = portable(name).unwrap();
    let bytes = |folder: &Path, file: &str| std::fs::metadata(folder.join(file)).unwrap().len();
    let of_bundle = bytes(&bundle(format!("tiny/{name}")), "weights.bin");
    let of_portable = bytes(portable.path(), "model.onnx_data");
    // The order of tensors differs, and with it the padding between them.
    assert!(of_portable < of_bundle + 64 * 1024, "{of_portable} bytes against {of_bundle}");
}

#[test]
fn the_portable_layout_is_refused_with_advice_where_a_bundle_is_needed() {
    let exported = portable("t5-relu").unwrap();
    let refused = |problem: &str| match Summarizer::open(exported.path()) {
        Ok(_) => panic!("{problem}"),
        Err(error) => error.to_string(),
    };
    let error = refused("summarized with the portable layout");
    assert!(error.contains("without --layout optimum"), "{error}");
    // optimum itself writes no manifest.
    std::fs::remove_file(exported.path().join("manifest.json")).unwrap();
    assert_eq!(refused("summarized with an export of optimum"), error);
}

#[test]
fn the_folder_holds_what_transformers_loads_a_model_by() {
    let exported = portable("pegasus-relu").unwrap();
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        let read = |path: std::path::PathBuf| std::fs::read(path).unwrap();
        let of_checkpoint = read(common::fixture("tiny/pegasus-relu").join(file));
        assert!(read(exported.path().join(file)) == of_checkpoint, "{file}");
    }
}

#[test]
fn the_portable_layout_holds_no_integers() {
    let options = ExportOptions {
        layout: Layout::Optimum,
        precision: Precision::Int8,
        ..ExportOptions::default()
    };
    let error = match Exported::attempt_with("tiny/t5-relu", &options) {
        Ok(_) => panic!("exported int8 in standard operators"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("leave --precision out"), "{error}");
}
