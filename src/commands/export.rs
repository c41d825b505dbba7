//! `epitome export`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use epitome_export::ExportOptions;
use epitome_runtime::bundle::{Manifest, Precision};

use crate::interrupt;
use crate::progress::StageBar;

/// Write a fine-tuned checkpoint as an ONNX bundle
#[derive(Args)]
pub(crate) struct Arguments {
    /// A model.tar.gz as SageMaker leaves it, or a checkpoint folder
    source: PathBuf,
    /// Folder of the bundle; an earlier bundle there is replaced
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How precisely weights are kept: int8 takes a quarter of the room and is several times as fast
    #[arg(long, value_name = "PRECISION", default_value_t, value_parser = precisions())]
    precision: Precision,
    /// Leave out loading the bundle and proving it sound
    #[arg(long)]
    no_verify: bool,
}

/// The precisions by name, so that help and mistakes list them.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name))
        .map(|name| name.parse().expect("a name that is offered"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let manifest = export(
        &arguments.source,
        &arguments.output,
        arguments.precision,
        !arguments.no_verify,
    )?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    eprintln!(
        "Exported {} ({}, {}, {:.1} MB) to {} in {:.1} s",
        manifest.source.name,
        manifest.architecture,
        manifest.precision,
        bytes as f64 / 1e6,
        arguments.output.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Exports with a progress bar; Ctrl-C leaves nothing behind.
pub(super) fn export(
    source: &Path,
    output: &Path,
    precision: Precision,
    verify: bool,
) -> Result<Manifest> {
    interrupt::watch();
    let progress = StageBar::new();
    let result = epitome_export::export(
        source,
        output,
        &ExportOptions {
            verify,
            precision,
            progress: &progress,
        },
    );
    progress.clear();
    interrupt::release();
    Ok(result?)
}
