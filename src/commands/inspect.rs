//! `epitome inspect`

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use epitome_runtime::bundle::Bundle;
use serde_json::Value;

use crate::{calibrating, model_choice};

/// Show what a bundle is: sizes, precision, source, and each generation default with its origin
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name or folder of the model; without it, the default of the store
    model: Option<PathBuf>,
    /// Compare the digest of every file with the manifest
    #[arg(long)]
    check: bool,
}

/// Defaults of transformers' `generate` for parameters that a model does not set. Parameters
/// without an effect under these defaults are left out.
const GENERATE_DEFAULTS: [(&str, &str); 6] = [
    ("do_sample", "false"),
    ("early_stopping", "false"),
    ("length_penalty", "1.0"),
    ("max_new_tokens", "20"),
    ("num_beams", "1"),
    ("num_return_sequences", "1"),
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = match &arguments.model {
        Some(model) => model_choice::locate(model)?,
        None => model_choice::default_bundle()?,
    };
    let bundle = Bundle::open(folder)?;
    if arguments.check {
        bundle.check()?;
    }
    let manifest = bundle.manifest();
    let shape = &manifest.shape;
    let out = &mut stdout().lock();
    let mut row = |name: &str, value: String| writeln!(out, "{name:<14} {value}");
    row("architecture", manifest.architecture.clone())?;
    row("precision", manifest.precision.to_string())?;
    row("layers", format!("{} encoder, {} decoder", shape.encoder_layers, shape.decoder_layers))?;
    row(
        "hidden size",
        format!("{}, {} heads of {}", shape.hidden_size, shape.heads, shape.head_size),
    )?;
    row("vocabulary", shape.vocab_size.to_string())?;
    row("source", format!("at most {} tokens", manifest.max_source_tokens))?;
    row(
        "summary",
        match shape.max_target_positions {
            Some(positions) => format!("at most {positions} tokens"),
            None => "of any length".into(),
        },
    )?;
    if let Some(prefix) = &manifest.source_prefix {
        row("prefix", format!("{prefix:?} before every source"))?;
    }
    row("made from", format!("{} ({})", manifest.source.name, manifest.source.weights))?;
    row("", manifest.source.digest.clone())?;
    row("made by", format!("{} {}", manifest.tool.name, manifest.tool.version))?;
    match &manifest.onnxruntime {
        Some(version) => row("verified with", format!("ONNX Runtime {version}"))?,
        None => row("verified with", "nothing (verification was left out)".into())?,
    }
    if let Some(calibration) = &manifest.calibration {
        row("calibrated", calibrating::shown(calibration))?;
        row("", calibration.digest.clone())?;
    }
    let total: u64 = manifest.files.values().map(|file| file.bytes).sum();
    row("size", format!("{:.1} MB", total as f64 / 1e6))?;
    for (name, file) in &manifest.files {
        row("", format!("{name:<24} {:>12} bytes", file.bytes))?;
    }
    row("defaults", String::new())?;
    let own = bundle.generation_config()?;
    let mut default = |name: &str, value: &str, origin: &str| {
        row("", format!("{:<34} {origin}", format!("{name} = {value}")))
    };
    for (name, value) in &own {
        let origin = manifest.generation_defaults.get(name);
        default(name, &value.to_string(), origin.map_or("", String::as_str))?;
    }
    for (name, value) in GENERATE_DEFAULTS {
        let unset = |name: &str| own.get(name).is_none_or(Value::is_null);
        if unset(name) && (name != "max_new_tokens" || unset("max_length")) {
            default(name, value, "transformers")?;
        }
    }
    if arguments.check {
        row("check", "every digest is right".into())?;
    }
    Ok(out.flush()?)
}
