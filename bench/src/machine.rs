//! What a measurement was made on and with: figures mean nothing without it.

use std::{env, fs};

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor, as the system names it.
    pub cpu: String,
    /// Threads that this process may use.
    pub threads: usize,
    /// Operating system.
    pub os: String,
    /// Architecture.
    pub arch: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".into()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            os: env::consts::OS.into(),
            arch: env::consts::ARCH.into(),
        }
    }
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The programs that were measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of this workspace.
    pub epitome: String,
    /// Version of the ONNX Runtime library, where one was loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub onnxruntime: Option<String>,
}

impl Versions {
    /// Those of this process, which loads ONNX Runtime if it has not yet.
    pub fn current() -> Self {
        Self {
            epitome: env!("CARGO_PKG_VERSION").into(),
            onnxruntime: epitome_runtime::library::OnnxRuntime::load()
                .ok()
                .map(|library| library.version().to_owned()),
        }
    }
}

/// How this program was built: counts of instructions are of one compiler and its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The compiler, as it names itself.
    pub rustc: String,
    /// cargo's `opt-level`.
    pub opt_level: String,
}

impl Build {
    /// That of this program.
    pub fn this() -> Self {
        Self {
            rustc: env!("EPITOME_BENCH_RUSTC").into(),
            opt_level: env!("EPITOME_BENCH_OPT_LEVEL").into(),
        }
    }
}
