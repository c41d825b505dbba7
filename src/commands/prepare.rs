//! `epitome prepare`

#[cfg(feature = "aws")]
mod upload;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use epitome_export::dataset::lengths::{Distribution, LengthOptions, Lengths, measure};
use epitome_export::dataset::{PrepareOptions, Prepared, prepare};

use crate::failure::Usage;
use crate::progress::{StageBar, with_bar};

/// Make training files for run_summarization.py from documents with summaries
#[derive(Args)]
pub(crate) struct Arguments {
    /// A folder of the XSum distribution, a .csv with a header, or a .jsonl
    source: PathBuf,
    /// Folder to write train.csv and validation.csv to
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    upload: upload::UploadFlags,
    /// Column or JSON field of the documents
    #[arg(long, value_name = "NAME", default_value = "text")]
    text_column: String,
    /// Column or JSON field of the summaries
    #[arg(long, value_name = "NAME", default_value = "summary")]
    summary_column: String,
    /// Share of the rows that validation.csv gets
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    validation: f64,
    /// Seed of the split; the same seed gives the same split
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    lengths: LengthFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Lengths")]
struct LengthFlags {
    /// Measure the lengths of rows in tokens of this bundle, checkpoint folder or tokenizer.json
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Largest number of tokens that training will read of a document
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_source_length: usize,
    /// Largest number of tokens that training will read of a summary
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_target_length: usize,
    /// Number of rows to measure, spread over the data; 0 for all rows
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    measure: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !(arguments.validation > 0.0 && arguments.validation < 1.0) {
        bail!(Usage(format!(
            "--validation must lie between 0 and 1, and {} does not",
            arguments.validation
        )));
    }
    let start = Instant::now();
    #[cfg(feature = "aws")]
    arguments.upload.check()?;
    let (prepared, lengths) = with_bar(|progress| work(arguments, progress))?;
    report(&prepared, arguments, start);
    if let Some(lengths) = &lengths {
        table(lengths, &arguments.lengths)?;
    }
    #[cfg(feature = "aws")]
    arguments.upload.send(&arguments.output)?;
    Ok(())
}

fn work(arguments: &Arguments, progress: &StageBar) -> Result<(Prepared, Option<Lengths>)> {
    let options = PrepareOptions {
        text_column: &arguments.text_column,
        summary_column: &arguments.summary_column,
        validation: arguments.validation,
        seed: arguments.seed,
        progress,
    };
    let prepared = prepare(&arguments.source, &arguments.output, &options)?;
    let flags = &arguments.lengths;
    let lengths = |tokenizer: &PathBuf| {
        let options = LengthOptions {
            rows: Some(flags.measure).filter(|rows| *rows > 0),
            max_source: flags.max_source_length,
            max_target: flags.max_target_length,
            progress,
        };
        measure(&arguments.output, prepared.written(), tokenizer, &options)
    };
    let lengths = flags.tokenizer.as_ref().map(lengths).transpose()?;
    Ok((prepared, lengths))
}

fn report(prepared: &Prepared, arguments: &Arguments, start: Instant) {
    let dropped: Vec<String> =
        prepared.dropped.iter().map(|(why, count)| format!("{count} {why}")).collect();
    let dropped = if dropped.is_empty() {
        "none left out".to_owned()
    } else {
        format!("left out: {}", dropped.join(", "))
    };
    eprintln!(
        "Prepared {} rows to train on and {} to validate with in {} in {:.1} s; {dropped}",
        prepared.train,
        prepared.validation,
        arguments.output.display(),
        start.elapsed().as_secs_f64()
    );
}

fn table(lengths: &Lengths, flags: &LengthFlags) -> Result<()> {
    let out = &mut stdout().lock();
    let of = if lengths.rows == lengths.of {
        format!("all {} rows", lengths.of)
    } else {
        format!("{} of {} rows, evenly spread", lengths.rows, lengths.of)
    };
    writeln!(out, "Tokens, special ones included ({of}):")?;
    writeln!(
        out,
        "{:<9}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}  truncated",
        "", "mean", "50%", "90%", "95%", "99%", "100%"
    )?;
    let mut row = |name: &str, of: &Distribution, limit: usize| {
        let mut line = format!("{name:<9}{:>8.1}", of.mean());
        for share in [0.5, 0.9, 0.95, 0.99, 1.0] {
            line.push_str(&format!("{:>8}", of.quantile(share)));
        }
        let percent = 100.0 * of.truncated as f64 / lengths.rows.max(1) as f64;
        writeln!(out, "{line}  {} ({percent:.1}%) beyond {limit}", of.truncated)
    };
    row("text", &lengths.text, flags.max_source_length)?;
    row("summary", &lengths.summary, flags.max_target_length)?;
    Ok(out.flush()?)
}
