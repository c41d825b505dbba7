//! `epitome-bench record`

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_bench::data::Dataset;
use epitome_bench::gate::baseline::Baseline;
use epitome_bench::history::Entry;
use epitome_bench::models::held_out;
use epitome_bench::results::{DataRecord, ModelRecord, Results};
use epitome_bench::settings::{Grid, Stopping};
use epitome_bench::sweep::sweep;
use epitome_runtime::{SessionOptions, Summarizer};

use super::{Scope, history_folder, tell, trained};

/// Measure this commit for the history, and make the gate's baseline of it
#[derive(Args)]
pub(crate) struct Arguments {
    /// Its name there: a release, or a date; entries are in the order of their names
    #[arg(long)]
    name: String,
    /// What changed, in a sentence
    #[arg(long, default_value = "")]
    note: String,
    /// Folder of the history
    #[arg(long, value_name = "DIR", default_value_os_t = history_folder())]
    folder: PathBuf,
    /// The stored baseline of the gate, which is made again with it
    #[arg(long, value_name = "FILE", default_value = "bench/baseline.json")]
    baseline: PathBuf,
    /// Held-out documents to measure on
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    scope: Scope,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let exported = trained()?;
    let baseline = Baseline::measure(
        &arguments.scope.probes(),
        &exported.path(),
        arguments.scope.measures()?,
        &tell,
    )?;
    let options = SessionOptions {
        threads: std::num::NonZeroUsize::MIN,
        ..Default::default()
    };
    let mut summarizer = Summarizer::open_with(exported.path(), &options)?;
    let data = Dataset::read(&held_out(), Some(arguments.limit))?;
    let grid = Grid {
        num_beams: vec![1, 4, 8],
        length_penalties: vec![0.5, 1.0, 2.0],
        early_stopping: vec![Stopping::False],
    };
    let settings = grid.settings();
    tell("summaries");
    let samples = sweep(&mut summarizer, &data, &settings, 1, &mut ())?;
    let model = ModelRecord::of(summarizer.bundle(), 1);
    let record = DataRecord::new("validation-1000.csv", &data, &samples);
    let results = Results::new(model, record, &settings, &samples);
    let entry = Entry {
        name: arguments.name.clone(),
        commit: commit()?,
        note: arguments.note.clone(),
        ..Entry::new(&baseline, &results)
    };
    entry.write(&arguments.folder)?;
    Ok(baseline.write(&arguments.baseline)?)
}

/// The commit that is checked out.
fn commit() -> Result<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let output = output.context("cannot run git, which knows the commit")?;
    if !output.status.success() {
        bail!("git knows no commit here: record in a clone of the repository");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
