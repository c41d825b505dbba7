//! Benchmarks of whole summaries over `length_penalty`, beams and `early_stopping`. Prints steps,
//! tokens, length and ROUGE with each point.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_evaluation::data::Document;
use epitome_evaluation::rouge::{Rouge, Scorer};
use epitome_evaluation::settings::Setting;
use epitome_runtime::Summarizer;

/// Totals of one pass over the documents.
struct Pass {
    steps: usize,
    tokens: usize,
    characters: usize,
    rouge: Option<Rouge>,
}

fn pass(summarizer: &mut Summarizer, documents: &[Document], setting: &Setting) -> Pass {
    let scorer = Scorer::default();
    let mut scores = Vec::new();
    let mut pass = Pass { steps: 0, tokens: 0, characters: 0, rouge: None };
    for document in documents {
        let summary = summarizer.summarize(&[&document.text], &setting.parameters());
        let summary = summary.expect("a summary").remove(0);
        pass.steps += summary.steps;
        pass.tokens += summary.sequences[0].token_ids.len() - 1;
        pass.characters += summary.text().chars().count();
        let reference = document.summary.as_deref().unwrap_or("");
        scores.push(scorer.score(reference, summary.text()));
    }
    pass.rouge = Rouge::mean(scores);
    pass
}

fn name(setting: &Setting) -> String {
    match setting.beam {
        None => "beams=1".into(),
        Some(beam) => format!(
            "beams={}/early_stopping={}/length_penalty={}",
            setting.num_beams, beam.early_stopping, beam.length_penalty
        ),
    }
}

fn over_settings(
    criterion: &mut Criterion,
    model: &common::Model,
    documents: &[Document],
    quality: bool,
) {
    let mut summarizer = Summarizer::open(model.exported.path()).expect("the bundle");
    let mut group = criterion.benchmark_group(format!("summary/{}", model.name));
    for setting in common::grid().settings() {
        let pass = pass(&mut summarizer, documents, &setting);
        let count = documents.len() as f64;
        print!(
            "{setting}: {} documents, {:.1} steps, {:.1} tokens and {:.0} characters each",
            documents.len(),
            pass.steps as f64 / count,
            pass.tokens as f64 / count,
            pass.characters as f64 / count,
        );
        match pass.rouge.filter(|_| quality) {
            Some(rouge) => println!(
                ", ROUGE-1/2/L {:.1}/{:.1}/{:.1}",
                100.0 * rouge.rouge1,
                100.0 * rouge.rouge2,
                100.0 * rouge.rouge_l
            ),
            None => println!(),
        }
        group.throughput(Throughput::Elements(pass.tokens as u64));
        let parameters = setting.parameters();
        group.bench_function(BenchmarkId::from_parameter(name(&setting)), |bencher| {
            bencher.iter(|| {
                for document in documents {
                    let summaries = summarizer.summarize(&[&document.text], &parameters);
                    std::hint::black_box(summaries.expect("a summary"));
                }
            });
        });
    }
    group.finish();
}

fn trained(criterion: &mut Criterion) {
    over_settings(criterion, &common::trained(), &common::documents(8), true);
}

fn shaped(criterion: &mut Criterion) {
    over_settings(criterion, &common::shaped(), &common::documents(1), false);
}

criterion_group! { name = benches; config = common::criterion(); targets = trained, shaped }
criterion_main!(benches);
