//! Tests of every precision with every tiny checkpoint and the trained model.

use std::fs;
use std::path::Path;

use crate::common::{bundle, bundle_in, fixture, summarizer, tiny_checkpoints};
use epitome_runtime::GenerationParameters;
use epitome_runtime::bundle::{Bundle, DECODER, ENCODER, Precision};
use epitome_runtime::session::{self, SessionOptions};

/// Logits of a few steps with one beam.
fn logits(bundle: impl AsRef<Path>) -> Vec<f32> {
    let mut summarizer = summarizer(bundle);
    let (encoder, decoder) = summarizer.sessions();
    let source: Vec<u32> = (3..20).collect();
    let memory = encoder.encode(&source).unwrap();
    let mut decoding = decoder.start_with(vec![memory], 1).unwrap();
    (5..11).flat_map(|token| decoding.step_all(&[token], &[0]).unwrap().to_vec()).collect()
}

/// `1 - cosine` of two vectors after subtraction of their means.
fn distance(left: &[f32], right: &[f32]) -> f64 {
    let mean =
        |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let (of_left, of_right) = (mean(left), mean(right));
    let (mut product, mut squares) = (0.0, [0.0; 2]);
    for (&a, &b) in left.iter().zip(right) {
        let (a, b) = (f64::from(a) - of_left, f64::from(b) - of_right);
        product += a * b;
        squares[0] += a * a;
        squares[1] += b * b;
    }
    1.0 - product / (squares[0] * squares[1]).sqrt()
}

/// The export verifies each: it compares the cache with decoding from scratch, and checks for
/// finite numbers.
#[test]
fn every_architecture_is_close_to_full_precision() {
    let mut failures = Vec::new();
    for name in tiny_checkpoints("") {
        let source = format!("tiny/{name}");
        let full = logits(bundle(&source));
        for precision in Precision::ALL.into_iter().skip(1) {
            match bundle_in(&source, precision) {
                Ok(folder) => {
                    let bundle = Bundle::open(&folder).unwrap();
                    assert_eq!(bundle.manifest().precision, precision);
                    let distance = distance(&full, &logits(folder));
                    println!("{name} {precision}: {distance:.1e}");
                    if distance.is_nan() || distance > tolerance(precision, &name) {
                        failures.push(format!("{name} {precision} is {distance:.1e} away"));
                    }
                }
                Err(error) => failures.push(format!("{name} {precision}: {error}")),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Largest [`distance`] of logits. With wrong weights it would be about 1.
fn tolerance(precision: Precision, name: &str) -> f64 {
    // With random weights these have a nearly binary softmax, which small changes flip. Causes are
    // unscaled scores, large weights, or a router.
    const SWITCHES: [&str; 8] =
        ["t5", "2bert", "2electra", "2gpt2", "roberta", "switch", "moe", "xlm-prophetnet"];
    let switches = SWITCHES.iter().any(|part| name.contains(part));
    match precision {
        Precision::Fp32 => 0.0,
        Precision::Fp16 => 1e-4,
        Precision::Int8 if switches => 0.15,
        Precision::Int8 => 0.01,
        Precision::Int4 if switches => 0.75,
        Precision::Int4 => 0.15,
    }
}

/// The experts of a layer are one operator, which reads only the chosen experts.
#[test]
fn experts_are_one_operator_in_every_precision() {
    for name in ["nllb_moe-relu", "switch_transformers-relu"] {
        for precision in Precision::ALL {
            let bundle = bundle_in(format!("tiny/{name}"), precision).unwrap();
            // Bytes before an operator's name: the number of the field, and the length.
            let operator = format!("\"\u{b}experts{precision}");
            let layers = [ENCODER, DECODER].map(|file| {
                let graph = fs::read(bundle.join(file)).unwrap();
                String::from_utf8_lossy(&graph).to_lowercase().matches(&operator).count()
            });
            assert_eq!(layers, [1, 2], "{name} {precision}");
        }
    }
}

/// A summary does not depend on the other documents in the batch.
#[test]
fn the_trained_model_summarizes_alike_alone_and_in_a_batch() {
    let articles: Vec<String> = ["beancount.txt", "gpsbabel.txt"]
        .iter()
        .map(|name| fs::read_to_string(fixture("articles").join(name)).unwrap())
        .chain(std::iter::once("A short text about a small tool.".into()))
        .collect();
    let texts: Vec<&str> = articles.iter().map(String::as_str).collect();
    for precision in Precision::ALL {
        let mut summarizer = summarizer(bundle_in("pegasus-debian.tar.gz", precision).unwrap());
        let parameters = GenerationParameters::default();
        let together = summarizer.summarize(&texts, &parameters).unwrap();
        for (text, together) in texts.iter().zip(&together) {
            let alone = summarizer.summarize(&[text], &parameters).unwrap();
            assert_eq!(alone[0].text(), together.text(), "{precision}");
            println!("{precision}: {}", together.text());
        }
    }
}

/// The logits are bit for bit the same with any number of threads and of documents in the batch.
#[test]
fn logits_do_not_depend_on_threads_or_neighbours() {
    for precision in [Precision::Fp16, Precision::Int8, Precision::Int4] {
        check_threads_and_neighbours(precision);
    }
}

fn check_threads_and_neighbours(precision: Precision) {
    let bundle = Bundle::open(bundle_in("pegasus-debian.tar.gz", precision).unwrap()).unwrap();
    // Lengths that end within a tile, within a block of keys, and within a thread's part.
    let sources: Vec<Vec<u32>> =
        [203, 64, 1].map(|length| (0..length).map(|token| 110 + token * 7 % 900).collect()).into();
    let beams = 5;
    let logits = |threads: usize, documents: &[usize]| -> Vec<Vec<u32>> {
        let threads = threads.try_into().unwrap();
        let options = SessionOptions { threads, spin: false, ..SessionOptions::default() };
        let (mut encoder, mut decoder) = session::load(&bundle, &options).unwrap();
        let memories =
            documents.iter().map(|&document| encoder.encode(&sources[document]).unwrap()).collect();
        let mut decoding = decoder.start_with(memories, beams).unwrap();
        let mut of_documents = vec![Vec::new(); documents.len()];
        for step in 0..4 {
            let rows = documents.len() * beams;
            let tokens: Vec<u32> = (0..rows).map(|row| (300 + step + row % beams) as u32).collect();
            let parents: Vec<u32> = (0..rows).map(|row| (row % beams / 2) as u32).collect();
            let logits = decoding.step_all(&tokens, &parents).unwrap();
            let size = logits.len() / documents.len();
            for (of_document, logits) in of_documents.iter_mut().zip(logits.chunks_exact(size)) {
                of_document.extend(logits.iter().map(|logit| logit.to_bits()));
            }
        }
        of_documents
    };
    let alone: Vec<_> =
        (0..sources.len()).map(|document| logits(1, &[document]).remove(0)).collect();
    assert_ne!(alone[0], alone[1], "documents differ");
    for threads in [1, 2, 3] {
        for documents in [&[0][..], &[0, 1, 2], &[2, 0]] {
            for (&document, logits) in documents.iter().zip(logits(threads, documents)) {
                assert!(
                    logits == alone[document],
                    "{precision}, {threads} threads, document {document} of {documents:?}"
                );
            }
        }
    }
}
