//! `epitome bench-worker`, by which `bench` runs a model in a process of its own.

use std::ffi::OsString;
use std::io::{stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use epitome_documents::isolated::running_program;
use epitome_evaluation::worker::{Program, serve};
use epitome_runtime::SessionOptions;

use crate::session_flags::SessionFlags;

const SUBCOMMAND: &str = "bench-worker";

/// Summarize the requests on standard input, one JSON object per line
#[derive(Args)]
#[command(name = SUBCOMMAND)]
pub(crate) struct Arguments {
    bundle: PathBuf,
    #[command(flatten)]
    session: SessionFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.session.options();
    Ok(serve(&arguments.bundle, &options, 0.0, stdin().lock(), stdout().lock())?)
}

/// This program, to run the bundle in a process of its own.
pub(super) fn program(bundle: &Path, options: &SessionOptions) -> Result<Program> {
    let arguments = [
        OsString::from(SUBCOMMAND),
        bundle.into(),
        "--threads".into(),
        options.threads.to_string().into(),
    ];
    let path = running_program()?;
    Ok(Program { path, arguments: arguments.into(), model: bundle.to_owned() })
}
