//! Tests of the command line: the real binary, real files, real mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{self, epitome, fails, fixture, run, text};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

fn bundle() -> PathBuf {
    common::bundle("tiny/pegasus-relu")
}

/// A copy of a tiny checkpoint that a test may change.
fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites `model.safetensors` with changed tensors.
fn edit_tensors(folder: &Path, edit: impl FnOnce(&mut BTreeMap<String, TensorView<'_>>)) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().collect();
    edit(&mut tensors);
    fs::write(&path, safetensors::serialize(&tensors, None).unwrap()).unwrap();
}

/// Checks that exporting `source` fails, and leaves nothing at the output.
#[track_caller]
fn export_fails(source: &Path, code: i32, words: &[&str]) {
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("bundle");
    fails(epitome().arg("export").arg(source).arg("--output").arg(&output), code, words);
    let left: Vec<_> = fs::read_dir(target.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn export_then_summarize_then_inspect() {
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("models/demo");
    let source = fixture("tiny/pegasus-relu");
    let export = run(epitome().arg("export").arg(&source).arg("--output").arg(&output));
    assert!(export.status.success(), "{}", text(&export.stderr));
    assert_eq!(text(&export.stdout), "");

    let article = fixture("articles/neuron.txt");
    let summary = run(epitome().arg("summarize").arg("--model").arg(&output).arg(&article));
    assert!(summary.status.success(), "{}", text(&summary.stderr));
    assert_eq!(text(&summary.stdout).lines().count(), 1);

    let inspect = run(epitome().arg("inspect").arg(&output).arg("--check"));
    let shown = text(&inspect.stdout);
    for words in [
        "architecture   pegasus",
        "fp32",
        "model.safetensors",
        "summary        at most 64 tokens",
        "eos_token_id = 1                   generation_config.json",
        "num_beams = 1                      transformers",
        "every digest is right",
    ] {
        assert!(shown.contains(words), "'{words}' is missing in:\n{shown}");
    }
    // A second export replaces the first.
    let again = run(epitome().arg("export").arg(&source).arg("--output").arg(&output));
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(fs::read_dir(target.path().join("models")).unwrap().count(), 1);
}

#[test]
fn json_has_a_line_a_document_with_everything_promised() {
    let articles = [fixture("articles/neuron.txt"), fixture("articles/enigma.txt")];
    let mut command = epitome();
    command.args(["summarize", "--format", "json", "--num-beams", "4", "--long", "first"]);
    command.arg("--model").arg(bundle());
    let output = run(command.args(&articles));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, article) in lines.iter().zip(&articles) {
        assert_eq!(line["source"], article.display().to_string());
        assert!(line["generated_text"].is_string());
        assert_eq!(line["token_ids"][0], 0, "the decoder start token comes first");
        assert!(line["score"].is_f64());
        assert!(line["input_tokens"].as_u64().unwrap() > 1);
        assert!(line["truncated"].is_boolean());
        assert!(line["steps"].as_u64().unwrap() > 0);
        for part in ["tokenize", "encode", "decode", "total"] {
            assert!(line["seconds"][part].is_f64(), "{part}");
        }
    }
}

#[test]
fn several_returned_sequences_are_several_lines_best_first() {
    let mut command = epitome();
    command.args(["summarize", "--format", "json", "--num-beams", "4"]);
    command.args(["--num-return-sequences", "3", "--long", "first", "--model"]).arg(bundle());
    let output = run(command.arg(fixture("articles/enigma.txt")));
    let scores: Vec<f64> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

#[test]
fn a_list_of_length_penalties_prints_summaries_side_by_side() {
    let mut command = epitome();
    command.args(["summarize", "--num-beams", "2", "--length-penalty", "-1,1.0,2"]);
    let output = run(command.arg("--model").arg(bundle()).arg(fixture("articles/enigma.txt")));
    let shown = text(&output.stdout);
    let heading = shown.lines().next().unwrap();
    for penalty in ["length_penalty -1", "length_penalty 1", "length_penalty 2"] {
        assert!(heading.contains(penalty), "{shown}");
    }
    assert!(shown.lines().nth(1).unwrap().matches(" tokens, ").count() == 3, "{shown}");
}

#[test]
fn standard_input_is_a_document() {
    let article = fs::File::open(fixture("articles/enigma.txt")).unwrap();
    let output =
        run(epitome().arg("summarize").arg("--model").arg(bundle()).arg("-").stdin(article));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[test]
fn a_long_document_is_cut_and_that_is_said_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long.txt");
    fs::write(&long, "A window shows values of many sensors. ".repeat(200)).unwrap();
    let mut command = epitome();
    command.args(["summarize", "--long", "first", "--model"]).arg(bundle()).arg(&long);
    let output = run(&mut command);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("the rest was left out"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[test]
fn sources_that_are_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    export_fails(&folder.path().join("absent"), 2, &["does not exist", "model.tar.gz"]);
    let file = folder.path().join("notes.tar.gz");
    fs::write(&file, "these are notes").unwrap();
    export_fails(&file, 1, &["notes.tar.gz", "not an archive"]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    export_fails(&empty, 1, &["holds no config.json"]);
}

#[test]
fn an_output_that_is_no_bundle_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let mut command = epitome();
    command.arg("export").arg(fixture("tiny/pegasus-relu")).arg("--output").arg(folder.path());
    fails(&mut command, 2, &["exists and is not a bundle"]);
    assert!(folder.path().join("thesis.txt").is_file());
}

#[test]
fn configurations_that_cannot_be_followed() {
    let cases = [
        ("model_type", json!("gpt2"), &["'gpt2'", "pegasus"] as &[_]),
        ("model_type", json!(7), &["model_type", "must be a text"]),
        ("d_model", json!(0), &["d_model", "whole number"]),
        ("decoder_attention_heads", json!(5), &["decoder_attention_heads", "does not divide"]),
        ("activation_function", json!("sine"), &["activation_function", "'sine'", "gelu"]),
        ("vocab_size", json!(-1), &["vocab_size", "whole number"]),
    ];
    for (field, value, words) in cases {
        let checkpoint = copy_of("tiny/pegasus-relu");
        edit_json(&checkpoint.path().join("config.json"), |config| {
            config[field] = value;
        });
        export_fails(checkpoint.path(), 1, words);
    }
    let checkpoint = copy_of("tiny/pegasus-relu");
    fs::remove_file(checkpoint.path().join("tokenizer.json")).unwrap();
    export_fails(checkpoint.path(), 1, &["tokenizer.json", "missing"]);
}

#[test]
fn tensors_that_are_missing_superfluous_misshapen_or_not_finite_are_named() {
    let norm = "model.decoder.layers.0.final_layer_norm.weight";
    let checkpoint = copy_of("tiny/pegasus-relu");
    edit_tensors(checkpoint.path(), |tensors| drop(tensors.remove(norm)));
    export_fails(checkpoint.path(), 1, &["lacks the tensor", norm]);

    let checkpoint = copy_of("tiny/pegasus-relu");
    edit_tensors(checkpoint.path(), |tensors| {
        let copy = tensors[norm].clone();
        tensors.insert("adapter.weight".into(), copy);
    });
    let target = tempfile::tempdir().unwrap();
    let output = run(epitome()
        .args(["export", "--output"])
        .args([&target.path().join("bundle"), checkpoint.path()]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let warning = "Left out tensors that pegasus has no use for: adapter.weight";
    assert!(text(&output.stderr).contains(warning), "{}", text(&output.stderr));

    let checkpoint = copy_of("tiny/pegasus-relu");
    edit_json(&checkpoint.path().join("config.json"), |config| {
        config["encoder_ffn_dim"] = 7.into();
    });
    export_fails(checkpoint.path(), 1, &["fc1.weight", "shape", "7"]);

    let checkpoint = copy_of("tiny/pegasus-relu");
    edit_tensors(checkpoint.path(), |tensors| {
        let (dtype, shape) = (tensors[norm].dtype(), tensors[norm].shape().to_vec());
        let mut data = tensors[norm].data().to_vec();
        data[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
        let spoiled = TensorView::new(dtype, shape, data.leak()).unwrap();
        tensors.insert(norm.into(), spoiled);
    });
    export_fails(checkpoint.path(), 1, &[norm, "NaN"]);
}

#[test]
fn precisions_are_recorded_and_shown_and_refuse_what_they_cannot_hold() {
    let target = tempfile::tempdir().unwrap();
    let export = |source: &Path, precision: &str| {
        let mut command = epitome();
        command.args(["export", "--precision", precision]).arg(source);
        command.arg("--output").arg(target.path().join(precision));
        command
    };
    let source = fixture("tiny/pegasus-relu");
    for precision in ["fp16", "int8", "int4"] {
        let exported = run(&mut export(&source, precision));
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        let inspect =
            run(epitome().args(["inspect", "--check"]).arg(target.path().join(precision)));
        let shown = text(&inspect.stdout);
        assert!(shown.contains(&format!("precision      {precision}\n")), "{shown}");
    }
    // clap's own messages have several lines.
    let unknown = run(&mut export(&source, "int3"));
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("fp32, fp16, int8, int4"));

    let weight = "model.decoder.layers.0.fc1.weight";
    let checkpoint = copy_of("tiny/pegasus-relu");
    edit_tensors(checkpoint.path(), |tensors| {
        let (dtype, shape) = (tensors[weight].dtype(), tensors[weight].shape().to_vec());
        let mut data = tensors[weight].data().to_vec();
        data[4..8].copy_from_slice(&(-1e5f32).to_le_bytes());
        let spoiled = TensorView::new(dtype, shape, data.leak()).unwrap();
        tensors.insert(weight.into(), spoiled);
    });
    for precision in ["fp16", "int4"] {
        fs::remove_dir_all(target.path().join(precision)).unwrap();
        let mut command = export(checkpoint.path(), precision);
        fails(&mut command, 1, &[weight, "1e5", "6.5504e4", "--precision"]);
        assert!(!target.path().join(precision).exists());
    }
    let exported = run(&mut export(checkpoint.path(), "int8"));
    assert!(exported.status.success(), "{}", text(&exported.stderr));
}

#[test]
fn a_damaged_bundle_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let restore = |spoil: &dyn Fn(&Path)| {
        for entry in fs::read_dir(bundle()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        spoil(folder.path());
    };
    let summarize = || {
        let mut command = epitome();
        command.arg("summarize").arg("--model").arg(folder.path());
        command.arg(fixture("articles/enigma.txt"));
        command
    };
    let change_last_byte = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    restore(&|root| {
        let weights = fs::File::options().write(true).open(root.join("weights.bin")).unwrap();
        weights.set_len(1000).unwrap();
    });
    fails(&mut summarize(), 1, &["weights.bin", "1000 bytes", "damaged"]);
    restore(&|root| change_last_byte(root.join("decoder.onnx")));
    fails(&mut summarize(), 1, &["decoder.onnx", "SHA-256", "changed"]);
    restore(&|root| change_last_byte(root.join("weights.bin")));
    let inspect = || {
        let mut command = epitome();
        command.arg("inspect").arg(folder.path());
        command
    };
    assert!(run(&mut inspect()).status.success(), "a plain look does not read the weights");
    fails(inspect().arg("--check"), 1, &["weights.bin", "SHA-256"]);
    restore(&|root| fs::remove_file(root.join("tokenizer.json")).unwrap());
    fails(&mut summarize(), 1, &["tokenizer.json"]);
    restore(&|root| {
        edit_json(&root.join("manifest.json"), |manifest| {
            manifest["format"] = 99.into();
        });
    });
    fails(&mut summarize(), 1, &["format 99", "export the model again"]);
    restore(&|root| {
        edit_json(&root.join("manifest.json"), |manifest| {
            manifest["shape"]["head_size"] = 0.into();
        });
    });
    fails(&mut summarize(), 1, &["shape.head_size is 0"]);
    restore(&|root| {
        edit_json(&root.join("manifest.json"), |manifest| {
            manifest["shape"]["source_prompt"] = u64::MAX.into();
        });
    });
    fails(&mut summarize(), 1, &["shape.source_prompt", "weights.bin is too small"]);
    restore(&|root| fs::write(root.join("manifest.json"), "{").unwrap());
    fails(&mut summarize(), 1, &["manifest.json"]);
}

/// The global attention mask is a flag of the export and of each summary.
#[test]
fn global_attention_is_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("bundle");
    for (asked, kept) in [(None, "\"first\""), (Some("none"), "\"none\""), (Some("0,1"), "[")] {
        let mut export = epitome();
        export.args(["export", "--no-verify"]).arg(fixture("tiny/led-one"));
        export.arg("--output").arg(&output);
        export.args(asked.map(|mask| format!("--global-attention-mask={mask}")));
        let export = run(&mut export);
        let stderr = text(&export.stderr);
        assert!(export.status.success(), "{stderr}");
        assert_eq!(stderr.contains("--global-attention-mask none"), asked.is_none(), "{stderr}");
        let config = fs::read_to_string(output.join("generation_config.json")).unwrap();
        let kept = format!("\"global_attention_mask\": {kept}");
        assert!(config.contains(&kept), "{config}");
    }
    let summarize = |model: &Path, mask: &str| {
        let mut command = epitome();
        command.arg("summarize").arg("--model").arg(model);
        command.args(["--global-attention-mask", mask]).arg(fixture("articles/enigma.txt"));
        command
    };
    for mask in ["first", "none", "1,0,0,1"] {
        let output = run(&mut summarize(&output, mask));
        assert!(output.status.success(), "{mask}: {}", text(&output.stderr));
    }
    fails(&mut summarize(&bundle(), "first"), 2, &["global_attention_mask", "only models of LED"]);
    assert_eq!(run(&mut summarize(&output, "last")).status.code(), Some(2));
}

#[test]
fn a_missing_or_broken_library_is_one_sentence() {
    let summarize = |library: &Path| {
        let mut command = epitome();
        command.arg("summarize").arg("--model").arg(bundle());
        command.arg(fixture("articles/enigma.txt")).env("ORT_DYLIB_PATH", library);
        command
    };
    fails(
        &mut summarize(Path::new("absent.so")),
        1,
        &["ORT_DYLIB_PATH", "absent.so", "not a file"],
    );
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("libonnxruntime.so");
    fs::write(&fake, "not a library").unwrap();
    fails(&mut summarize(&fake), 1, &["not a working ONNX Runtime library"]);
    let runtime = epitome_runtime::library::OnnxRuntime::load().unwrap();
    let mut bytes = fs::read(runtime.path()).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&fake, bytes).unwrap();
    fails(&mut summarize(&fake), 1, &["not a working ONNX Runtime library"]);

    let mut command = epitome();
    command.arg("summarize").arg("--model").arg(bundle()).arg(fixture("articles/enigma.txt"));
    command.env_remove("ORT_DYLIB_PATH").env("EPITOME_CACHE", folder.path()).env("PATH", "");
    fails(&mut command, 1, &["cannot fetch ONNX Runtime", "ORT_DYLIB_PATH"]);
}

#[test]
fn documents_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let summarize = |file: &Path| {
        let mut command = epitome();
        command.arg("summarize").arg("--model").arg(bundle()).arg(file);
        command
    };
    fails(&mut summarize(&folder.path().join("absent.txt")), 2, &["absent.txt", "does not exist"]);
    fails(&mut summarize(folder.path()), 2, &["has no files"]);
    let file = folder.path().join("file.txt");
    fs::write(&file, " \n\t").unwrap();
    fails(&mut summarize(&file), 1, &["file.txt", "is empty"]);
    fs::write(&file, b"\x89PNG\r\n\x1a\n").unwrap();
    fails(&mut summarize(&file), 1, &["file.txt", "a picture"]);
    let mut nowhere = epitome();
    nowhere.args(["summarize", "--model"]).arg(folder.path()).arg(fixture("articles/enigma.txt"));
    fails(&mut nowhere, 2, &["has no manifest.json", "epitome export"]);
}

#[test]
fn parameters_that_make_no_sense_are_named() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--num-beams", "0"], &["num_beams"]),
        (
            &["--num-beams", "2", "--num-return-sequences", "3"],
            &["num_return_sequences", "num_beams"],
        ),
        (&["--parameters", r#"{"num_beam": 4}"#], &["num_beam", "num_beams"]),
        (&["--parameters", r#"{"num_beams": "four"}"#], &["num_beams", "four"]),
        (&["--parameters", "[1]"], &["--parameters", "JSON object"]),
        (&["--parameters", "{"], &["--parameters", "not JSON"]),
        (&["--length-penalty", "NaN"], &["length_penalty"]),
    ];
    for (arguments, words) in cases {
        let mut command = epitome();
        command.arg("summarize").arg("--model").arg(bundle()).args(*arguments);
        fails(command.arg(fixture("articles/enigma.txt")), 2, words);
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut command = epitome();
    command.arg("summarize").arg("--model").arg(bundle()).arg(fixture("articles/enigma.txt"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Tests of Unix signals and limits.
#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn ctrl_c_during_an_export_leaves_nothing_behind() {
        let target = tempfile::tempdir().unwrap();
        let mut command = epitome();
        command.arg("export").arg(fixture("pegasus-debian.tar.gz"));
        command.arg("--output").arg(target.path().join("bundle"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("pegasus-debian.tar.gz"), "{first}");
        common::signal(child.id(), "INT");
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        assert_eq!(rest.last().map(String::as_str), Some("epitome: interrupted"));
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_whole_leaves_nothing_behind() {
        let target = tempfile::tempdir().unwrap();
        // Limits files to 64 blocks of 512 bytes, which is too small for the weights.
        let script = r#"trap "" XFSZ; ulimit -f 64; exec "$0" export "$1" --output "$2""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_epitome")]);
        command.arg(fixture("tiny/pegasus-relu")).arg(target.path().join("bundle"));
        fails(&mut command, 1, &["weights.bin"]);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
}
