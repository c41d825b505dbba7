//! Counting instructions with valgrind's callgrind: slow, and the same every time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::look::{PLANT_VARIABLE, list, run};
use super::probe::{COUNTED, Name, Plant, Probe};
use crate::error::{Error, Result};

/// Whether valgrind can be run here.
pub fn available() -> bool {
    let mut version = Command::new("valgrind");
    let version = version
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Runs a probe once, in this process, for callgrind to count.
///
/// # Errors
///
/// [`Error::Runtime`] when a model cannot be loaded or fails.
pub fn work(name: Name, bundle: &Path, plants: &[Plant]) -> Result<()> {
    Probe::new(name, bundle, plants)?.run(&mut |_| {})?;
    Ok(())
}

/// Counts the instructions of a probe's work, in a new process of this program, which must know the
/// command `count`.
///
/// # Errors
///
/// [`Error::Process`] when valgrind or the program fails.
pub fn count(name: Name, bundle: &Path, plants: &[Plant]) -> Result<u64> {
    let program = env::current_exe().map_err(Error::io("this program"))?;
    let folder = tempfile::tempdir().map_err(Error::io(env::temp_dir()))?;
    let out = folder.path().join("callgrind.out");
    let mut process = Command::new("valgrind");
    process
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["count", "--probe", &name.to_string(), "--bundle"])
        .arg(bundle)
        .env(PLANT_VARIABLE, list(plants));
    run(&mut process, "valgrind")?;
    let text = fs::read_to_string(&out).map_err(Error::io(&out))?;
    match total(&text) {
        Some(0) | None => Err(Error::Process {
            command: "valgrind".into(),
            problem: format!("it counted nothing of {name}"),
        }),
        Some(count) => Ok(count),
    }
}

/// The total that a callgrind file ends with.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rfind(|line| line.starts_with("totals:") || line.starts_with("summary:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_callgrind_file_is_found() {
        assert_eq!(
            total("version: 1\nsummary: 12\n\nfn=(1) x\n1 2\n\ntotals: 345\n"),
            Some(345)
        );
        assert_eq!(total("version: 1\n"), None);
    }
}
