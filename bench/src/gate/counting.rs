//! Counts instructions with valgrind's callgrind, which is slow and reproducible.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::callgrind;
use super::probe::{Probe, Work};

/// The subcommand of this program that [`count`] runs under valgrind.
pub const SUBCOMMAND: &str = "count";

/// Instructions of each probe.
pub type Counts = BTreeMap<Probe, u64>;

/// Runs the probes in this process, for callgrind to count. Only the work itself is instrumented,
/// since instrumentation makes everything some 50 times slower.
///
/// # Errors
///
/// When a model cannot be loaded or fails.
pub fn work(probes: &[Probe], bundle: &Path) -> Result<()> {
    for probe in probes {
        probe.run(bundle, &mut |work: &mut Work<'_>| {
            callgrind::start_instrumentation();
            callgrind::toggle_collect();
            let done = work();
            callgrind::toggle_collect();
            callgrind::dump(&probe.to_string());
            callgrind::stop_instrumentation();
            done
        })?;
    }
    Ok(())
}

/// Counts the instructions of the probes, in a child process of this program under valgrind.
///
/// # Errors
///
/// When valgrind is not installed or fails.
pub fn count(probes: &[Probe], bundle: &Path) -> Result<Counts> {
    if !callgrind::SUPPORTED {
        bail!("instructions can be counted on x86-64 and AArch64 only");
    }
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("count");
    let mut process = Command::new("valgrind");
    process
        .args(["--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args([SUBCOMMAND, "--bundle"])
        .arg(bundle);
    for probe in probes {
        process.arg("--probe").arg(probe.to_string());
    }
    run(&mut process)?;
    // The files are numbered in the order in which they are written.
    let numbered = probes.iter().enumerate();
    let counted = numbered.map(|(index, &probe)| {
        let path = folder.path().join(format!("count.{}", index + 1));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("callgrind did not write {}", path.display()))?;
        let count = total(&text, probe);
        Ok((probe, count.with_context(|| format!("callgrind counted nothing of {probe}"))?))
    });
    counted.collect()
}

/// Runs valgrind to its end. An error contains the last line that it printed.
fn run(process: &mut Command) -> Result<()> {
    let output = process
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind, which counts instructions: apt-get install valgrind")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        bail!("valgrind failed ({}): {}", output.status, last.unwrap_or("it printed nothing"));
    }
    Ok(())
}

/// The total of a callgrind file, if it is of this probe.
fn total(text: &str, probe: Probe) -> Option<u64> {
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let heading = after("desc: Trigger: Client Request: ")?;
    let total = after("totals: ").or_else(|| after("summary: "))?;
    let total = total.split_whitespace().next()?.parse().ok()?;
    (heading.trim() == probe.to_string() && total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_callgrind_file_is_found() {
        let file =
            "version: 1\ndesc: Trigger: Client Request: encoder\n\nfn=(1) x\n1 2\n\ntotals: 345\n";
        assert_eq!(total(file, Probe::Encoder), Some(345));
        assert_eq!(total(file, Probe::DecoderStep), None);
        assert_eq!(total(&file.replace("345", "0"), Probe::Encoder), None);
        assert_eq!(total("version: 1\n", Probe::Encoder), None);
    }

    #[test]
    fn requests_do_nothing_outside_of_valgrind() {
        work(&[Probe::SearchLoop], Path::new("unused")).expect("a search");
    }
}
