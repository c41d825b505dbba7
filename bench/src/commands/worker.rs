//! `epitome-bench worker`, which runs epitome as one of the engines of `bench/peers`.

use std::io::{BufRead, Write, stdin, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_bench::tokens::{self, Job};
use epitome_runtime::{SessionOptions, Summarizer};
use serde::Deserialize;
use serde_json::{Value, json};

/// Generate from token ids, for bench/peers: one JSON object per line, in and out
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[arg(long, value_name = "N")]
    threads: NonZeroUsize,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Load,
    Generate(Job),
}

/// Answers requests until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    answer(&json!({"engine": format!("epitome {}", env!("CARGO_PKG_VERSION"))}))?;
    let mut loaded: Option<Summarizer> = None;
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).context("a line is no request")?;
        match (request, &mut loaded) {
            (Request::Load, loaded) => {
                let start = Instant::now();
                let options = SessionOptions { threads: arguments.threads, ..Default::default() };
                *loaded = Some(Summarizer::open_with(&arguments.model, &options)?);
                answer(&json!({"seconds": start.elapsed().as_secs_f64()}))?;
            }
            (Request::Generate(job), Some(summarizer)) => {
                answer(&serde_json::to_value(tokens::run(summarizer, &job)?)?)?;
            }
            (Request::Generate(_), None) => bail!("'load' must come before 'generate'"),
        }
    }
    Ok(())
}

fn answer(value: &Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
