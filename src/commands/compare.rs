//! `epitome compare`

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_evaluation::compare::{
    ComparisonRecord, compare, default_differences, shared_defaults, table,
};
use epitome_evaluation::data::Dataset;
use epitome_runtime::bundle::Bundle;
use epitome_runtime::{GenerationParameters, SessionOptions, Summarizer};

use crate::column_flags::ColumnFlags;
use crate::generation_flags::GenerationFlags;
use crate::interrupt;
use crate::model_choice;
use crate::progress::SummaryBar;
use crate::session_flags::SessionFlags;

/// Compare two bundles on the same documents: quality, agreement, logits, size and latency
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name or folder of the first model, A, the reference
    a: PathBuf,
    /// Name or folder of the second model, B
    b: PathBuf,
    /// CSV file with a column of texts, and a column of reference summaries to measure quality with
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[command(flatten)]
    columns: ColumnFlags,
    /// Let each model search with its own generation defaults; without it, both use A's defaults
    #[arg(long)]
    own_defaults: bool,
    /// Compare at most this many documents
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// How to print the comparison
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    session: SessionFlags,
    #[command(flatten)]
    generation: GenerationFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table
    Text,
    /// One JSON object
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let parameters = arguments.generation.single()?;
    let limit = arguments.limit.map(NonZeroUsize::get);
    let data = arguments.columns.read(&arguments.data, limit)?;
    let options = arguments.session.options();
    let [a, b] = [model_choice::choose(&arguments.a)?, model_choice::choose(&arguments.b)?];
    let bundles = [Bundle::open(a.bundle())?, Bundle::open(b.bundle())?];
    let of_b = parameters_of_b(&bundles, &parameters, arguments.own_defaults)?;
    let folders = [a.bundle(), b.bundle()];
    let mut record = measure(folders, &data, [&parameters, &of_b], &options)?;
    record.default_differences = default_differences(&bundles[0], &bundles[1])?;
    match arguments.format {
        Format::Text => show(&record),
        Format::Json => {
            writeln!(stdout().lock(), "{}", serde_json::to_string_pretty(&record)?)?;
            ended(&record)
        }
    }
}

/// The parameters that B searches with. Adds a note where the defaults of both differ.
fn parameters_of_b(
    [a, b]: &[Bundle; 2],
    parameters: &GenerationParameters,
    own_defaults: bool,
) -> Result<GenerationParameters> {
    let differences = default_differences(a, b)?;
    if differences.is_empty() {
        return Ok(parameters.clone());
    }
    let shown: Vec<String> = differences
        .iter()
        .map(|one| format!("{} {} and {}", one.name, one.values[0], one.values[1]))
        .collect();
    let shown = shown.join(", ");
    if own_defaults {
        eprintln!("epitome: note: A and B search with different defaults ({shown})");
        return Ok(parameters.clone());
    }
    eprintln!(
        "epitome: note: the defaults of A and B differ ({shown}): both search with those of A; \
         --own-defaults leaves each its own"
    );
    let shared = GenerationParameters::from_json(&shared_defaults(a, b)?)?;
    Ok(parameters.overlaid_on(&shared))
}

/// Prints the table; an error when the user ended the comparison early.
pub(super) fn show(record: &ComparisonRecord) -> Result<()> {
    write!(stdout().lock(), "{}", table(record))?;
    ended(record)
}

fn ended(record: &ComparisonRecord) -> Result<()> {
    if record.interrupted {
        bail!(epitome_evaluation::Error::StoppedEarly);
    }
    Ok(())
}

/// Compares with a progress bar; Ctrl-C ends with what was compared.
pub(super) fn measure(
    bundles: [&Path; 2],
    data: &Dataset,
    parameters: [&GenerationParameters; 2],
    options: &SessionOptions,
) -> Result<ComparisonRecord> {
    interrupt::watch();
    let mut a = Summarizer::open_with(bundles[0], options)?;
    let mut b = Summarizer::open_with(bundles[1], options)?;
    let bar = SummaryBar::new();
    let found = compare([&mut a, &mut b], data, parameters, &bar);
    bar.clear();
    Ok(ComparisonRecord::new([a.bundle(), b.bundle()], &found?))
}
