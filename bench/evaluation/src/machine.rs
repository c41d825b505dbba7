//! The machine and the program versions of a measurement.

use std::{env, fs};

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, as the operating system gives it.
    pub cpu: String,
    /// Threads that this process may use.
    pub threads: usize,
    /// The operating system.
    pub os: String,
    /// The processor architecture.
    pub arch: String,
}

impl Machine {
    /// The machine that runs this process.
    pub fn this() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".into()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            os: env::consts::OS.into(),
            arch: env::consts::ARCH.into(),
        }
    }
}

/// Peak memory of this process in bytes, including mapped files. `None` if the system does not
/// tell.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kilobytes)
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Versions of the measured programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of this workspace.
    pub epitome: String,
    /// Version of the ONNX Runtime library, if one was loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub onnxruntime: Option<String>,
}

impl Versions {
    /// The versions in this process. Loads ONNX Runtime if that was not done before.
    pub fn current() -> Self {
        Self {
            epitome: env!("CARGO_PKG_VERSION").into(),
            onnxruntime: epitome_runtime::library::OnnxRuntime::load()
                .ok()
                .map(|library| library.version().to_owned()),
        }
    }
}
