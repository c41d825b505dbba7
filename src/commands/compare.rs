//! `epitome compare`

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_evaluation::compare::{ComparisonRecord, compare, table};
use epitome_evaluation::data::Dataset;
use epitome_runtime::{GenerationParameters, SessionOptions, Summarizer};

use crate::generation_flags::GenerationFlags;
use crate::interrupt;
use crate::model_choice;
use crate::progress::SummaryBar;
use crate::session_flags::SessionFlags;

/// Compare two bundles on the same documents: quality, agreement, logits, size and latency
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name or folder of the first model, A: what the other is held against
    a: PathBuf,
    /// Name or folder of the second model, B
    b: PathBuf,
    /// CSV file with a column `text`, and `summary` where quality is to be measured
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
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
    let data = Dataset::read(&arguments.data, arguments.limit.map(NonZeroUsize::get))?;
    let options = arguments.session.options();
    let [a, b] = [model_choice::choose(&arguments.a)?, model_choice::choose(&arguments.b)?];
    let record = measure([a.bundle(), b.bundle()], &data, &parameters, &options)?;
    match arguments.format {
        Format::Text => show(&record),
        Format::Json => {
            writeln!(stdout().lock(), "{}", serde_json::to_string_pretty(&record)?)?;
            ended(&record)
        }
    }
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
    parameters: &GenerationParameters,
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
