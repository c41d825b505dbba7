//! `epitome-bench picture`

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use epitome_bench::fixtures::held_out;
use epitome_evaluation::data::Dataset;
use epitome_evaluation::plot::render;
use epitome_evaluation::report;
use epitome_evaluation::results::{DataRecord, ModelRecord, Results};
use epitome_evaluation::settings::Grid;
use epitome_evaluation::sweep::sweep;
use epitome_runtime::{SessionOptions, Summarizer};

use super::{print, trained};

/// Draw latency, length and ROUGE of the trained model against length_penalty
#[derive(Args)]
pub(crate) struct Arguments {
    /// File of the figure
    #[arg(long, value_name = "FILE", default_value = "docs/images/length-penalty.svg")]
    output: PathBuf,
    /// Number of held-out documents to measure on
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Number of beams
    #[arg(long, value_name = "N", default_value_t = 8)]
    num_beams: usize,
    /// Threads of the model; a single thread is disturbed least by other programs
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let exported = trained()?;
    let options = SessionOptions { threads: arguments.threads, ..Default::default() };
    let mut summarizer = Summarizer::open_with(exported.path(), &options)?;
    let path = held_out();
    let data = Dataset::read(&path, Some(arguments.limit))?;
    let grid = Grid { num_beams: vec![1, arguments.num_beams], ..Default::default() };
    let settings = grid.settings();
    eprintln!("Summarizing {} documents at {} settings ...", data.documents.len(), settings.len());
    let samples = sweep(&mut summarizer, &data, &settings, 1, &())?;
    let model = ModelRecord::of(summarizer.bundle(), arguments.threads.get());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let record = DataRecord::new(name, &data, &samples);
    let results = Results::new(model, record, &settings, &samples);
    print(report::table(&results).trim_end())?;
    if let Some(folder) = arguments.output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let picture = render(&report::overview(&results, arguments.num_beams));
    Ok(report::replace(&arguments.output, (picture + "\n").as_bytes())?)
}
