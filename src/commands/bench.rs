//! `epitome bench`

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use epitome_evaluation::data::Dataset;
use epitome_evaluation::report;
use epitome_evaluation::results::{DataRecord, ModelRecord, Results};
use epitome_evaluation::settings::{Grid, LENGTH_PENALTIES, NUM_BEAMS, Stopping};
use epitome_evaluation::sweep::{Samples, sweep};
use epitome_runtime::Summarizer;

use crate::failure::Usage;
use crate::interrupt;
use crate::model_choice::ModelFlag;
use crate::progress::SummaryBar;
use crate::session_flags::SessionFlags;

/// Measure how latency and quality of a model depend on beams and length_penalty
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelFlag,
    /// CSV file with a column `text`, and `summary` where quality is to be measured
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder of the report: report.html, results.json, settings.csv, samples.csv
    #[arg(short, long, value_name = "DIR", default_value = "epitome-bench")]
    output: PathBuf,
    /// Pick the best setting that makes 9 of 10 summaries within this time
    #[arg(long, value_name = "N")]
    budget_ms: Option<f64>,
    /// Measure at most this many documents
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Summaries of each document at each setting
    #[arg(long, value_name = "N", default_value = "1")]
    repeats: NonZeroUsize,
    #[command(flatten)]
    session: SessionFlags,
    /// Beams to try; 1 is greedy search
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',', default_values_t = NUM_BEAMS)]
    num_beams: Vec<usize>,
    /// Length penalties to try
    #[arg(
        long,
        value_name = "X[,X...]",
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_values_t = LENGTH_PENALTIES
    )]
    length_penalty: Vec<f64>,
    /// Stopping rules to try: true, false, never
    #[arg(
        long,
        value_name = "RULE[,RULE...]",
        value_delimiter = ',',
        default_values_t = Stopping::ALL
    )]
    early_stopping: Vec<Stopping>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(budget) = arguments.budget_ms.filter(|budget| budget.is_nan() || *budget <= 0.0) {
        bail!(Usage(format!("--budget-ms is {budget}, and must be above 0")));
    }
    let data = Dataset::read(&arguments.data, arguments.limit.map(NonZeroUsize::get))?;
    let options = arguments.session.options();
    let model = arguments.model.choose()?;
    let mut summarizer = Summarizer::open_with(model.bundle(), &options)?;
    let grid = Grid {
        num_beams: arguments.num_beams.clone(),
        length_penalties: arguments.length_penalty.clone(),
        early_stopping: arguments.early_stopping.clone(),
    };
    let settings = grid.settings();

    interrupt::watch();
    let bar = SummaryBar::new();
    let samples = sweep(&mut summarizer, &data, &settings, arguments.repeats.get(), &bar);
    bar.clear();
    let samples = samples?;

    let model = ModelRecord::of(summarizer.bundle(), options.threads.get());
    let results = Results::new(model, record(arguments, &data, &samples), &settings, &samples);
    let results = match arguments.budget_ms {
        Some(budget) => results.within(budget),
        None => results,
    };
    // The report comes first: whoever reads the table may close the pipe.
    for path in report::write(&arguments.output, &results, &settings, &samples)? {
        eprintln!("{}", path.display());
    }
    write!(stdout().lock(), "{}", report::table(&results))?;
    if results.interrupted {
        bail!(epitome_evaluation::Error::StoppedEarly);
    }
    Ok(())
}

fn record(arguments: &Arguments, data: &Dataset, samples: &Samples) -> DataRecord {
    let name = arguments.data.file_name().unwrap_or_default();
    DataRecord::new(name.to_string_lossy(), data, samples)
}
