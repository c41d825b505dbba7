//! Tells the program its compiler and its settings, on which counts of instructions depend.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    println!("cargo:rustc-env=EPITOME_BENCH_RUSTC={version}");
    let level = env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo:rustc-env=EPITOME_BENCH_OPT_LEVEL={level}");
    println!("cargo:rerun-if-changed=build.rs");
}
