//! Counting instructions with valgrind's callgrind: slow, and the same every time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::callgrind;
use super::look::{PLANT_VARIABLE, list, run};
use super::probe::{Meter, Name, Piece, Plant, Probe};
use crate::error::{Error, Result};

/// Instructions of each probe.
pub type Counts = BTreeMap<Name, u64>;

/// The version of valgrind that counts here; none where none can.
pub fn valgrind() -> Option<String> {
    let output = Command::new("valgrind")
        .arg("--version")
        .stderr(Stdio::null())
        .output();
    let output = output
        .ok()
        .filter(|output| callgrind::SUPPORTED && output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Has callgrind count pieces of work.
struct Counting;

impl Meter for Counting {
    fn piece(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        callgrind::toggle_collect();
        let done = piece();
        callgrind::toggle_collect();
        Ok(done?)
    }
}

/// Does pieces of work.
struct Uncounted;

impl Meter for Uncounted {
    fn piece(&mut self, piece: &mut Piece<'_>) -> Result<()> {
        Ok(piece()?)
    }
}

/// Works through these probes so many times in this process, for callgrind to count. What comes before
/// runs without instrumentation, since most of the time would go there.
///
/// # Errors
///
/// [`Error::Runtime`] when a model cannot be loaded or fails.
pub fn work(probes: &[Name], bundle: &Path, plants: &[Plant], runs: usize) -> Result<()> {
    for &name in probes {
        let mut probe = Probe::new(name, bundle, plants)?;
        // The first run of a session does what later ones find done.
        probe.run(&mut Uncounted)?;
        callgrind::start_instrumentation();
        for _ in 0..runs {
            probe.run(&mut Counting)?;
            callgrind::dump(&name.to_string());
        }
        callgrind::stop_instrumentation();
    }
    Ok(())
}

/// Counts the instructions of the probes' work in a new process of this program, which must know the
/// command `count`: of each run, as many of which are made as the process is to make.
///
/// # Errors
///
/// [`Error::Process`] when valgrind or the program fails.
pub fn count(probes: &[Name], bundle: &Path, plants: &[Plant], runs: usize) -> Result<Vec<Counts>> {
    let program = env::current_exe().map_err(Error::io("this program"))?;
    let folder = tempfile::tempdir().map_err(Error::io(env::temp_dir()))?;
    let out = folder.path().join("count");
    let mut process = Command::new("valgrind");
    process
        .args([
            "--tool=callgrind",
            "--instr-atstart=no",
            "--collect-atstart=no",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["count", "--runs", &runs.to_string(), "--bundle"])
        .arg(bundle)
        .env(PLANT_VARIABLE, list(plants));
    for probe in probes {
        process.arg("--probe").arg(probe.to_string());
    }
    run(&mut process, "valgrind")?;
    // The files are numbered in the order in which they were written.
    let dump = |part: usize| {
        let path = folder.path().join(format!("count.{}", part + 1));
        fs::read_to_string(&path).map_err(Error::io(&path))
    };
    let mut counts = vec![Counts::new(); runs];
    for (index, &probe) in probes.iter().enumerate() {
        for (run, counts) in counts.iter_mut().enumerate() {
            let number = total(&dump(index * runs + run)?, probe);
            let number = number.ok_or_else(|| Error::Process {
                command: "valgrind".into(),
                problem: format!("it counted nothing of {probe}"),
            })?;
            counts.insert(probe, number);
        }
    }
    Ok(counts)
}

/// The total of a callgrind file that is of this probe.
fn total(text: &str, probe: Name) -> Option<u64> {
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
        assert_eq!(total(file, Name::Encoder), Some(345));
        assert_eq!(total(file, Name::DecoderStep), None);
        assert_eq!(total(&file.replace("345", "0"), Name::Encoder), None);
        assert_eq!(total("version: 1\n", Name::Encoder), None);
    }

    #[test]
    fn requests_do_nothing_outside_of_valgrind() {
        work(&[Name::SearchLoop], Path::new("unused"), &[], 1).expect("it works as ever");
    }
}
