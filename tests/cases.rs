//! Tests of checkpoints from real training jobs, from the archive or folder to the token ids.
//!
//! Each folder of `fixtures/cases` is a kind of checkpoint from public bug reports. Its
//! `expected.json` has the result of transformers; `fixtures/make_case_goldens.py` writes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::{THREADS, epitome, fixture, succeeds};
use serde::Deserialize;

/// The fields of `expected.json` that the test reads.
#[derive(Deserialize)]
struct Expected {
    /// All sequences, best first.
    sequences: Vec<Vec<u32>>,
    /// Tokens of the source, including special tokens.
    input_tokens: usize,
    /// Whether the source was longer than the model's window.
    truncated: bool,
}

/// One sequence of a line of `summarize --format json`.
#[derive(Deserialize)]
struct Row {
    token_ids: Vec<u32>,
    input_tokens: usize,
    truncated: bool,
}

/// Exports the case's checkpoint, summarizes its input, and compares the token ids.
fn check(name: &str) {
    let case = fixture("cases").join(name);
    let archive = case.join("model.tar.gz");
    let source = if archive.exists() { archive } else { case.join("checkpoint") };
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    succeeds(epitome().arg("export").arg(source).arg("--output").arg(&bundle));
    let mut summarize = epitome();
    // Uses the default number of threads.
    summarize.env_remove(THREADS).arg("summarize").arg("--model").arg(&bundle);
    if let Ok(parameters) = fs::read_to_string(case.join("parameters.json")) {
        summarize.arg("--parameters").arg(parameters);
    }
    // Truncates like transformers.
    summarize.args(["--format", "json", "--long", "first"]);
    let (printed, _) = succeeds(summarize.arg(case.join("input.txt")));
    let rows: Vec<Row> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();

    let expected: Expected = read(&case.join("expected.json"));
    let want = expected.sequences;
    assert_eq!(rows[0].input_tokens, expected.input_tokens, "source tokens");
    // Beam search pads a finished row with the end token if the id of the pad token is 0.
    let end = *want[0].last().unwrap();
    let got: Vec<_> = rows.iter().map(|row| trim(&row.token_ids, end)).collect();
    let want: Vec<_> = want.iter().map(|ids| trim(ids, end)).collect();
    assert_eq!(got, want, "token ids");
    assert_eq!(rows[0].truncated, expected.truncated, "truncated");
}

/// Token ids without the padding after the first end token.
fn trim(ids: &[u32], end: u32) -> Vec<u32> {
    let mut ids = ids.to_vec();
    while ids.len() > 2 && ids.last() == Some(&0) && end != 0 {
        ids.pop();
    }
    while ids.len() > 2 && ids[ids.len() - 2..] == [end, end] {
        ids.pop();
    }
    ids
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(&stringify!($name).replace('_', "-"));
            }
        )*

        /// A folder without a test would not be checked.
        #[test]
        fn every_folder_is_a_test() {
            let tests: BTreeSet<String> =
                [$(stringify!($name)),*].map(|name| name.replace('_', "-")).into();
            let folders: BTreeSet<String> = fs::read_dir(fixture("cases"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(tests, folders);
        }
    };
}

cases! {
    job_4_57_6_bart_compiled
    job_4_6_1_pegasus
    job_5_24_0_mbart
    adapter_beside_base
    bart_bert_tokenizer
    base_model_names
    bert_bart_no_json
    bias_minus_inf
    byt5
    class_default_forced_eos
    defaults_unusable_early_stopping
    defaults_unusable_pad
    defaults_unusable_temperature
    force_bos_old_name
    forced_eos_extra_sequences
    gzip_zero_padding
    legacy_bin
    m2m_added_token
    max_length_not_reached
    mbart_no_tokenizer_json
    nfd_marian
    orig_mod_prefix
    pegasus_slow_4_51
    request_temperature_0
    sinusoidal_target
    t5_bpe_sentencepiece
    tar_fifo_unneeded
    tar_sparse_unneeded
    tokenizer_above_checkpoint
    tokenizer_json_bart_prefix_space
    truncated_flag
    truncation_side_left
}
