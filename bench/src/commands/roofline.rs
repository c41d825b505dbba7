//! `epitome-bench roofline`

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use epitome_bench::roofline::Roofline;

/// Measure what this machine can read and compute at most
#[derive(Args)]
pub(crate) struct Arguments {
    /// Threads that work together
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let roofline = Roofline::measure(arguments.threads.get());
    println!("{}", serde_json::to_string(&roofline)?);
    Ok(())
}
