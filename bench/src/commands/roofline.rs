//! `epitome-bench roofline`

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use epitome_bench::roofline::Roofline;

/// Measure the limits of this machine: memory bandwidth and arithmetic
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of threads
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let roofline = Roofline::measure(arguments.threads.get());
    println!("{}", serde_json::to_string(&roofline)?);
    Ok(())
}
