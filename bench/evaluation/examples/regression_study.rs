//! Studies how often `epitome bench --against-model` is right, with slowdowns of a known size.
//!
//! Each run compares a model with itself. The new one is slowed by nothing, 5% or 10%: its process
//! waits after each summary for that share of its time. Every run is a line of a JSON lines file,
//! so that an interrupted study can be resumed.
//!
//! ```text
//! cargo run --release -p epitome-evaluation --example regression_study -- \
//!     --model models/demo --data fixtures/summaries/validation-1000.csv --output study.jsonl
//! ```

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Write, stdin, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use epitome_evaluation::data::Dataset;
use epitome_evaluation::machine::Machine;
use epitome_evaluation::origin::Origin;
use epitome_evaluation::regression::{Method, Outcome, Plan};
use epitome_evaluation::settings::Setting;
use epitome_evaluation::worker::{Program, serve};
use epitome_runtime::bundle::Bundle;
use epitome_runtime::{ModelSettings, SessionOptions};
use serde::{Deserialize, Serialize};

/// Slowdowns of the new model, and the number of runs of each.
const CASES: [(f64, usize); 3] = [(0.0, 100), (0.05, 30), (0.1, 30)];
/// First argument of the processes that run a model.
const WORKER: &str = "worker";

/// One run.
#[derive(Serialize, Deserialize)]
struct Run {
    /// Other load of the machine, described by the user of the study.
    load: String,
    slowdown: f64,
    outcome: Outcome,
    verdict: String,
    rounds: usize,
    seconds: f64,
    cpu: String,
}

struct Options {
    model: PathBuf,
    data: PathBuf,
    output: PathBuf,
    /// Number of documents.
    limit: usize,
    threads: NonZeroUsize,
    tolerance: f64,
    /// Divisor of the numbers of runs.
    fewer: usize,
    load: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [worker, model, threads, slowdown] = &arguments[..]
        && worker == WORKER
    {
        let options = SessionOptions { threads: threads.parse()?, ..Default::default() };
        let (model, slowdown) = (Path::new(model), slowdown.parse()?);
        return Ok(serve(model, &options, slowdown, stdin().lock(), stdout().lock())?);
    }
    let options = Options::parse(&arguments)?;
    let data = Dataset::read(&options.data, Some(options.limit))?;
    let bundle = Bundle::open(&options.model)?;
    let settings = [Setting::of_defaults(ModelSettings::of(&bundle)?.defaults())];
    for (slowdown, count) in CASES {
        let wanted = count.div_ceil(options.fewer);
        let done = runs(&options.output)?;
        let done =
            done.iter().filter(|run| run.slowdown == slowdown && run.load == options.load).count();
        for _ in done..wanted {
            let run = options.run(slowdown, &data, &bundle, &settings)?;
            eprintln!("{:.0}%: {}", 100.0 * slowdown, run.verdict);
            let mut file = OpenOptions::new().create(true).append(true).open(&options.output)?;
            writeln!(file, "{}", serde_json::to_string(&run)?)?;
        }
    }
    print!("{}", table(&runs(&options.output)?));
    Ok(())
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            model: "models/demo".into(),
            data: "fixtures/summaries/validation-1000.csv".into(),
            output: "study.jsonl".into(),
            limit: 20,
            threads: NonZeroUsize::MIN,
            tolerance: epitome_evaluation::regression::TOLERANCE,
            fewer: 1,
            load: "quiet".into(),
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(format!("{} has no value", pair[0]).into());
            };
            match name.as_str() {
                "--model" => options.model = value.into(),
                "--data" => options.data = value.into(),
                "--output" => options.output = value.into(),
                "--limit" => options.limit = value.parse()?,
                "--threads" => options.threads = value.parse()?,
                "--tolerance" => options.tolerance = value.parse::<f64>()? / 100.0,
                "--fewer" => options.fewer = value.parse::<NonZeroUsize>()?.get(),
                "--load" => options.load = value.clone(),
                _ => return Err(format!("there is no flag {name}").into()),
            }
        }
        Ok(options)
    }

    fn run(
        &self,
        slowdown: f64,
        data: &Dataset,
        bundle: &Bundle,
        settings: &[Setting],
    ) -> Result<Run, Box<dyn Error>> {
        let start = std::time::Instant::now();
        let [old, new] = [self.program(0.0)?, self.program(slowdown)?];
        let plan = Plan {
            programs: [&old, &new],
            bundles: [bundle, bundle],
            threads: self.threads.get(),
            data,
            data_name: "study",
            settings,
            tolerance: self.tolerance,
            origin: Origin::default(),
        };
        let (regression, ..) = plan.run(&())?;
        let Method::Interleaved { rounds, .. } = regression.method else {
            return Err("models at hand run in turn".into());
        };
        Ok(Run {
            load: self.load.clone(),
            slowdown,
            outcome: regression.outcome,
            verdict: regression.verdict,
            rounds,
            seconds: start.elapsed().as_secs_f64(),
            cpu: Machine::this().cpu,
        })
    }

    fn program(&self, slowdown: f64) -> Result<Program, Box<dyn Error>> {
        let arguments = [
            WORKER.into(),
            self.model.clone().into(),
            self.threads.to_string().into(),
            slowdown.to_string().into(),
        ];
        let model = self.model.clone();
        Ok(Program { path: env::current_exe()?, arguments: arguments.into(), model })
    }
}

/// The runs so far.
fn runs(path: &Path) -> Result<Vec<Run>, Box<dyn Error>> {
    let text = if path.exists() { fs::read_to_string(path)? } else { String::new() };
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn table(runs: &[Run]) -> String {
    let mut groups: BTreeMap<(&str, u32), Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let percent = (100.0 * run.slowdown).round() as u32;
        groups.entry((&run.load, percent)).or_default().push(run);
    }
    let mut out = String::from(
        "| load | slowed by | runs | slower | not slower | too noisy | rounds | seconds |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for ((load, percent), runs) in groups {
        let count = |outcome| runs.iter().filter(|run| run.outcome == outcome).count();
        let mean =
            |of: fn(&Run) -> f64| runs.iter().map(|run| of(run)).sum::<f64>() / runs.len() as f64;
        out += &format!(
            "| {load} | {percent}% | {} | {} | {} | {} | {:.1} | {:.0} |\n",
            runs.len(),
            count(Outcome::Worse),
            count(Outcome::Kept),
            count(Outcome::Unclear),
            mean(|run| run.rounds as f64),
            mean(|run| run.seconds),
        );
    }
    out
}
