//! `epitome bench`

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use epitome_evaluation::data::Dataset;
use epitome_evaluation::holdout::holdout;
use epitome_evaluation::machine::peak_memory;
use epitome_evaluation::origin::Origin;
use epitome_evaluation::regression::{
    DRIFT, Outcome, Plan, Regression, TOLERANCE, against_results, check,
};
use epitome_evaluation::results::{DataRecord, ModelRecord, Results};
use epitome_evaluation::settings::{Grid, LENGTH_PENALTIES, NUM_BEAMS, Setting, Stopping};
use epitome_evaluation::sweep::{Samples, sweep};
use epitome_evaluation::{Error, history, report};
use epitome_runtime::bundle::Bundle;
use epitome_runtime::{ModelSettings, Summarizer};

use super::bench_worker::program;
use crate::column_flags::ColumnFlags;
use crate::failure::Usage;
use crate::interrupt;
use crate::model_choice::{self, ModelFlag};
use crate::progress::SummaryBar;
use crate::session_flags::SessionFlags;

/// Measure latency and quality by beams and length_penalty; tell if a model got slower or worse
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelFlag,
    /// CSV file with a column of texts, and a column of reference summaries to measure quality with
    #[arg(long, value_name = "FILE", required_unless_present = "history")]
    data: Option<PathBuf>,
    #[command(flatten)]
    columns: ColumnFlags,
    /// Folder of the report: report.html, results.json, settings.csv, samples.csv
    #[arg(short, long, value_name = "DIR", default_value = "epitome-bench")]
    output: PathBuf,
    /// Pick the best setting that makes 9 of 10 summaries within this time; exit code 3 when none
    /// does
    #[arg(long, value_name = "N")]
    budget_ms: Option<f64>,
    /// Measure at most this many documents
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Number of times that each document is summarized at each setting
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "against_model")]
    repeats: NonZeroUsize,
    #[command(flatten)]
    session: SessionFlags,
    /// Beams to try; 1 is greedy search [default: 1,2,4,8, or as in --against]
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',')]
    num_beams: Vec<usize>,
    /// Length penalties to try [default: from -1 to 2.5, or as in --against]
    #[arg(long, value_name = "X[,X...]", value_delimiter = ',', allow_hyphen_values = true)]
    length_penalty: Vec<f64>,
    /// Stopping rules to try: true, false, never [default: all, or as in --against]
    #[arg(long, value_name = "RULE[,RULE...]", value_delimiter = ',')]
    early_stopping: Vec<Stopping>,
    /// Folder of results over time: adds the results of this run, and draws all in history.html;
    /// without --data, only draws
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    #[command(flatten)]
    against: AgainstFlags,
}

/// The model or the results to compare with.
#[derive(Args)]
#[command(next_help_heading = "Regression: exit code 3 when slower or worse, 4 when too noisy")]
struct AgainstFlags {
    /// Old model to compare with: both models run in turn, at the old model's default setting
    /// unless flags name settings
    #[arg(long, value_name = "MODEL")]
    against_model: Option<PathBuf>,
    /// results.json of an earlier run to compare with, at the same settings
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Tolerated growth of times and memory, and loss of ROUGE-L, in percent [default: 3, or 15
    /// with --against alone, since machines drift from hour to hour]
    #[arg(long, value_name = "PERCENT")]
    tolerance: Option<f64>,
}

/// A finished measurement.
struct Measured {
    settings: Vec<Setting>,
    results: Results,
    samples: Samples,
    regression: Option<Regression>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(budget) = arguments.budget_ms.filter(|budget| budget.is_nan() || *budget <= 0.0) {
        bail!(Usage(format!("--budget-ms is {budget}, and must be above 0")));
    }
    let tolerance = arguments.against.tolerance()?;
    let Some(path) = &arguments.data else {
        return draw(arguments.history.as_deref());
    };
    let old = arguments.against.against.as_deref().map(Results::read).transpose()?;
    let limit = arguments.limit.map(NonZeroUsize::get);
    let limit = limit.or(old.as_ref().map(|old| old.data.documents));
    let data = arguments.columns.read(path, limit)?;
    if let Some(old) = &old {
        check(old, &data)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let measured = match &arguments.against.against_model {
        Some(model) => in_turn(arguments, model, old.as_ref(), (&data, &name), tolerance)?,
        None => alone(arguments, old, (&data, &name), tolerance)?,
    };
    finish(arguments, measured)
}

/// Draws the folder of results over time.
fn draw(folder: Option<&Path>) -> Result<()> {
    if let Some(folder) = folder {
        eprintln!("{}", history::draw(folder)?.display());
    }
    Ok(())
}

/// Measures the model alone, and compares with the results of an earlier run if there are some.
fn alone(
    arguments: &Arguments,
    old: Option<Results>,
    (data, name): (&Dataset, &str),
    tolerance: f64,
) -> Result<Measured> {
    if old.is_some() && arguments.names_settings() {
        bail!(Usage(
            "--against measures the settings of its file again: leave out --num-beams, \
             --length-penalty and --early-stopping, or give --against-model too"
                .into()
        ));
    }
    let settings = match arguments.settings(old.as_ref()) {
        Some(settings) => settings,
        None => Grid::default().settings(),
    };
    let options = arguments.session.options();
    let model = arguments.model.choose()?;
    let start = Instant::now();
    let mut summarizer = Summarizer::open_with(model.bundle(), &options)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;

    interrupt::watch();
    let bar = SummaryBar::new();
    let samples = sweep(&mut summarizer, data, &settings, arguments.repeats.get(), &bar);
    bar.clear();
    let samples = samples?;

    let model = ModelRecord::of(summarizer.bundle(), options.threads.get());
    let record = DataRecord::new(name, data, &samples);
    let mut results = Results::new(model, record, &settings, &samples);
    if let Some(budget) = arguments.budget_ms {
        results = results.within(budget);
        results.holdout = holdout(&samples, settings.len(), budget);
    }
    let mut results = results.with_examples(data, &settings, &samples);
    results.load_ms = Some(load_ms);
    results.memory_bytes = peak_memory();
    results.origin = origin();
    // An interrupted measurement has fewer documents than the old results.
    let old = old.filter(|_| !results.interrupted);
    let regression = old.map(|old| against_results(old, &results, tolerance));
    Ok(Measured { settings, results, samples, regression })
}

/// Measures the old and the new model in processes that take turns.
fn in_turn(
    arguments: &Arguments,
    old_model: &Path,
    old: Option<&Results>,
    (data, name): (&Dataset, &str),
    tolerance: f64,
) -> Result<Measured> {
    let models = [model_choice::choose(old_model)?, arguments.model.choose()?];
    let [old_bundle, new_bundle] =
        [Bundle::open(models[0].bundle())?, Bundle::open(models[1].bundle())?];
    let defaults = ModelSettings::of(&old_bundle)?;
    let settings = match arguments.settings(old) {
        Some(settings) => settings,
        None => vec![Setting::of_defaults(defaults.defaults())],
    };
    for setting in &settings {
        defaults.configure(&setting.parameters())?;
    }
    let options = arguments.session.options();
    let programs = [program(old_bundle.root(), &options)?, program(new_bundle.root(), &options)?];
    let plan = Plan {
        programs: [&programs[0], &programs[1]],
        bundles: [&old_bundle, &new_bundle],
        threads: options.threads.get(),
        data,
        data_name: name,
        settings: &settings,
        tolerance,
        origin: origin(),
    };
    interrupt::watch();
    let bar = SummaryBar::new();
    let measured = plan.run(&bar);
    bar.clear();
    let (regression, mut results, samples) = measured?;
    if let Some(budget) = arguments.budget_ms {
        results = results.within(budget);
        results.holdout = holdout(&samples, settings.len(), budget);
    }
    Ok(Measured { settings, results, samples, regression: Some(regression) })
}

/// Writes the report, prints the table, and fails where a limit is not kept.
fn finish(arguments: &Arguments, measured: Measured) -> Result<()> {
    let Measured { settings, results, samples, regression } = measured;
    // The report comes first: whoever reads the table may close the pipe.
    let output = &arguments.output;
    for path in report::write(output, &results, &settings, &samples, regression.as_ref())? {
        eprintln!("{}", path.display());
    }
    if let Some(folder) = arguments.history.as_deref().filter(|_| !results.interrupted) {
        eprintln!("{}", history::add(folder, &results)?.display());
        draw(Some(folder))?;
    }
    let mut out = stdout().lock();
    write!(out, "{}", report::table(&results))?;
    if results.interrupted {
        bail!(Error::StoppedEarly);
    }
    if let Some(regression) = regression {
        let told = |warning: &&String| regression.verdict.contains(warning.as_str());
        for warning in regression.warnings.iter().filter(|warning| !told(warning)) {
            eprintln!("epitome: note: {warning}");
        }
        match regression.outcome {
            Outcome::Kept => writeln!(out, "{}", regression.verdict)?,
            Outcome::Worse => bail!(Error::Worse(regression.verdict)),
            Outcome::Unclear => bail!(Error::TooNoisy(regression.verdict)),
        }
    }
    match results.verdict() {
        Some(verdict) if results.is_beyond_budget() => bail!(Error::Worse(verdict)),
        _ => Ok(()),
    }
}

fn origin() -> Origin {
    Origin::now(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

impl Arguments {
    /// Whether flags name settings.
    fn names_settings(&self) -> bool {
        !(self.num_beams.is_empty()
            && self.length_penalty.is_empty()
            && self.early_stopping.is_empty())
    }

    /// The settings that flags name, or else those of the old results.
    fn settings(&self, old: Option<&Results>) -> Option<Vec<Setting>> {
        if !self.names_settings() {
            return old.map(Results::settings);
        }
        fn or<T: Clone>(named: &[T], default: &[T]) -> Vec<T> {
            if named.is_empty() { default.to_vec() } else { named.to_vec() }
        }
        let grid = Grid {
            num_beams: or(&self.num_beams, &NUM_BEAMS),
            length_penalties: or(&self.length_penalty, &LENGTH_PENALTIES),
            early_stopping: or(&self.early_stopping, &Stopping::ALL),
        };
        Some(grid.settings())
    }
}

impl AgainstFlags {
    /// The tolerance as a fraction.
    fn tolerance(&self) -> Result<f64> {
        match self.tolerance {
            Some(percent) if !(percent > 0.0 && percent.is_finite()) => {
                bail!(Usage(format!("--tolerance is {percent}, and must be a percentage above 0")))
            }
            Some(_) if self.against.is_none() && self.against_model.is_none() => {
                bail!(Usage("--tolerance needs --against-model or --against".into()))
            }
            Some(percent) => Ok(percent / 100.0),
            None if self.against_model.is_some() => Ok(TOLERANCE),
            None => Ok(DRIFT),
        }
    }
}
