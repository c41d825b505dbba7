//! `epitome-bench random-model`

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use epitome_bench::random_checkpoint::Shape;

/// Write a random PEGASUS checkpoint with the shape of a real model
#[derive(Args)]
pub(crate) struct Arguments {
    /// Shape of the model
    #[arg(long, value_enum, default_value = "small")]
    shape: Named,
    /// Folder of the checkpoint
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    /// The proportions and vocabulary of pegasus-large in 32 million parameters
    Small,
    /// google/pegasus-large: 568 million parameters, 2.3 GB
    PegasusLarge,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let shape = match arguments.shape {
        Named::Small => Shape::SMALL,
        Named::PegasusLarge => Shape::PEGASUS_LARGE,
    };
    let folder = &arguments.output;
    fs::create_dir_all(folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
    shape.write(folder)
}
