//! `epitome inspect`

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_runtime::bundle::Bundle;

/// Show what a bundle is: sizes, precision, source, and each generation default with its origin
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the bundle
    model: PathBuf,
    /// Compare the digest of every file with the manifest
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bundle = Bundle::open(&arguments.model)?;
    if arguments.check {
        bundle.check()?;
    }
    let manifest = bundle.manifest();
    let shape = &manifest.shape;
    let out = &mut stdout().lock();
    let mut row = |name: &str, value: String| writeln!(out, "{name:<14} {value}");
    row("architecture", manifest.architecture.clone())?;
    row("precision", manifest.precision.to_string())?;
    row(
        "layers",
        format!(
            "{} encoder, {} decoder",
            shape.encoder_layers, shape.decoder_layers
        ),
    )?;
    row(
        "hidden size",
        format!(
            "{}, {} heads of {}",
            shape.hidden_size, shape.heads, shape.head_size
        ),
    )?;
    row("vocabulary", shape.vocab_size.to_string())?;
    row(
        "source",
        format!("at most {} tokens", manifest.max_source_tokens),
    )?;
    row(
        "made from",
        format!("{} ({})", manifest.source.name, manifest.source.weights),
    )?;
    row("", manifest.source.digest.clone())?;
    row(
        "made by",
        format!("{} {}", manifest.tool.name, manifest.tool.version),
    )?;
    match &manifest.onnxruntime {
        Some(version) => row("verified with", format!("ONNX Runtime {version}"))?,
        None => row(
            "verified with",
            "nothing (verification was left out)".into(),
        )?,
    }
    let total: u64 = manifest.files.values().map(|file| file.bytes).sum();
    row("size", format!("{:.1} MB", total as f64 / 1e6))?;
    for (name, file) in &manifest.files {
        row("", format!("{name:<24} {:>12} bytes", file.bytes))?;
    }
    row("defaults", String::new())?;
    for (name, value) in bundle.generation_config()? {
        let origin = manifest
            .generation_defaults
            .get(&name)
            .map_or("", String::as_str);
        row("", format!("{:<24} {origin}", format!("{name} = {value}")))?;
    }
    if arguments.check {
        row("check", "every digest is right".into())?;
    }
    Ok(out.flush()?)
}
