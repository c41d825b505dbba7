//! `epitome summarize`

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::{GenerationParameters, Summarizer, Summary};

use crate::generation_flags::GenerationFlags;
use crate::inputs::{self, Document};
use crate::model_choice::ModelFlag;
use crate::output::{self, Column};
use crate::progress::SummaryBar;
use crate::session_flags::SessionFlags;

/// Summarize documents, offline
#[derive(Args)]
pub(crate) struct Arguments {
    /// Text files, one document each; '-' or none for standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelFlag,
    /// Text to put before every document in place of the checkpoint's own, as T5's 'summarize: '
    #[arg(long, value_name = "TEXT")]
    source_prefix: Option<String>,
    /// How to print summaries
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    session: SessionFlags,
    #[command(flatten)]
    generation: GenerationFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Just the summaries, a line each
    Text,
    /// A JSON object a line and summary, with token ids, score and timing
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let variants = arguments.generation.variants()?;
    let documents = inputs::read(&arguments.files)?;
    let options = arguments.session.options();
    let model = arguments.model.choose()?;
    let mut summarizer = Summarizer::open_with(model.bundle(), &options)?;
    if let Some(prefix) = &arguments.source_prefix {
        summarizer.set_source_prefix(prefix);
    }
    // All settings are checked before the first document is worked on.
    for parameters in &variants {
        summarizer.configure(parameters)?;
    }
    let results = summarize(&mut summarizer, &documents, &variants)?;
    note_truncation(&summarizer, &documents, &results[0]);
    let out = &mut stdout().lock();
    let several = variants.len() > 1;
    for (index, document) in documents.iter().enumerate() {
        let columns: Vec<_> = variants
            .iter()
            .zip(&results)
            .map(|(parameters, summaries)| (parameters.length_penalty, summaries[index].clone()))
            .collect();
        match arguments.format {
            Format::Json => {
                for (penalty, summary) in &columns {
                    output::json(out, &document.source, summary, penalty.filter(|_| several))?;
                }
            }
            Format::Text if several => {
                if documents.len() > 1 {
                    writeln!(out, "{}", document.source)?;
                }
                let columns: Vec<_> = columns
                    .iter()
                    .map(|(penalty, summary)| Column::of(*penalty, summary))
                    .collect();
                output::side_by_side(out, &columns)?;
                writeln!(out)?;
            }
            Format::Text => output::text(out, &columns[0].1)?,
        }
    }
    Ok(out.flush()?)
}

/// Summaries of every document, for each set of parameters.
fn summarize(
    summarizer: &mut Summarizer,
    documents: &[Document],
    variants: &[GenerationParameters],
) -> Result<Vec<Vec<Summary>>> {
    let mut bar = SummaryBar::new();
    let count = (documents.len() * variants.len()) as u64;
    bar.start("Summarizing", Total::Items(count));
    let results = variants
        .iter()
        .map(|parameters| Ok(summarizer.summarize_observed(documents, parameters, &mut bar)?))
        .collect();
    bar.clear();
    results
}

/// Says on standard error which documents were cut.
fn note_truncation(summarizer: &Summarizer, documents: &[Document], summaries: &[Summary]) {
    let limit = summarizer.bundle().manifest().max_source_tokens;
    for (document, summary) in documents.iter().zip(summaries) {
        if summary.truncated {
            eprintln!(
                "epitome: note: '{}' is longer than the {limit} tokens this model reads; the rest \
                 was left out",
                document.source
            );
        }
    }
}
