//! Temporary folders are removed with the process, however it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use epitome_runtime::bundle::MANIFEST;

use crate::common::{epitome, fixture, signal, succeeds, terminated_after};

/// The number of folders. ONNX Runtime has its own file in the same place.
fn folders(temporary: &Path) -> usize {
    let entries = std::fs::read_dir(temporary).unwrap().map(Result::unwrap);
    entries.filter(|entry| entry.file_type().unwrap().is_dir()).count()
}

fn command(name: &str, temporary: &Path) -> Command {
    let mut command = epitome();
    command.env("TMPDIR", temporary).arg(name);
    command.arg("--model").arg(fixture("tiny/pegasus-relu"));
    command
}

/// A process. It ends with this value.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Waits for the end of the process.
    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Waits for the page's address.
    fn listens(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("http://"), "{line}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that has exported its checkpoint, and waits for its input or requests.
fn waiting(mut command: Command, temporary: &Path) -> (Running, ChildStdin) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Tests that nohup started would make it ignore the end of a terminal.
    let heed_hangup = || {
        // SAFETY: the function may be called between fork and exec, and runs no code of this
        // program.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: the closure only calls the function above.
    unsafe { command.pre_exec(heed_hangup) };
    let mut running = Running(command.spawn().unwrap());
    let stderr = running.0.stderr.as_mut().unwrap();
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("was exported for this run only")));
    assert_eq!(folders(temporary), 1);
    // Waiting for the end of the process would close its input.
    let input = running.0.stdin.take().unwrap();
    (running, input)
}

fn page(temporary: &Path) -> Command {
    let mut command = command("page", temporary);
    command.args(["--no-browser", "--port", "0"]);
    command
}

#[test]
fn a_signal_leaves_no_folder_behind() {
    for name in ["INT", "TERM", "HUP"] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut running, _input) = waiting(command("mcp", temporary.path()), temporary.path());
        running.signal(name);
        assert_eq!(running.code(), Some(130), "after {name}");
        assert_eq!(folders(temporary.path()), 0, "after {name}");
    }
}

#[test]
fn a_page_ends_in_good_order() {
    for name in ["INT", "TERM", "HUP"] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut running, _input) = waiting(page(temporary.path()), temporary.path());
        running.listens();
        running.signal(name);
        assert_eq!(running.code(), Some(0), "after {name}");
        assert_eq!(folders(temporary.path()), 0, "after {name}");
    }
}

#[test]
fn a_server_ends_in_good_order_while_its_model_loads() {
    for milliseconds in (0..200).step_by(5) {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = command("serve", temporary.path());
        let time = Duration::from_millis(milliseconds);
        let Output { status, stderr, .. } = terminated_after(command.args(["--port", "0"]), time);
        let log = String::from_utf8_lossy(&stderr);
        // The signal may come before the server handles it.
        let early = status.signal() == Some(libc::SIGTERM);
        assert!(early || status.success(), "{status} after {milliseconds} ms: {log}");
        assert!(log.lines().all(|line| line.starts_with('{')), "not of the log: {log}");
        assert_eq!(folders(temporary.path()), 0, "after {milliseconds} ms");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_to_outlive_its_terminal_goes_on_ignoring_its_end() {
    let temporary = tempfile::tempdir().unwrap();
    let command = page(temporary.path());
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", r#"trap "" HUP; exec "$0" "$@""#]).arg(command.get_program());
    ignoring.args(command.get_args());
    ignoring.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (mut running, _input) = waiting(ignoring, temporary.path());
    running.listens();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(mask.trim(), 16).unwrap() & 1, 1, "{mask}");
    running.signal("TERM");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut running, _input) = waiting(command("mcp", temporary.path()), temporary.path());
    running.signal("KILL");
    running.code();
    assert_eq!(folders(temporary.path()), 1);
    succeeds(command("summarize", temporary.path()).arg(fixture("articles/enigma.txt")));
    assert_eq!(folders(temporary.path()), 0);
}

#[test]
fn an_export_that_is_stopped_at_once_leaves_its_output_whole_or_absent() {
    for is_replacing in [false, true] {
        let target = tempfile::tempdir().unwrap();
        let output = target.path().join("bundle");
        if is_replacing {
            std::fs::create_dir(&output).unwrap();
            std::fs::write(output.join(MANIFEST), "{}").unwrap();
        }
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(target.path()).unwrap().map(Result::unwrap);
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
        };
        let mut command = epitome();
        command.arg("export").arg(fixture("pegasus-debian.tar.gz")).arg("--output").arg(&output);
        let mut running = Running(command.stderr(Stdio::null()).spawn().unwrap());
        while !names().iter().any(|name| name.ends_with(".partial")) {
            assert_eq!(running.0.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(1));
        }
        // The first signal only asks to stop.
        running.signal("INT");
        running.signal("INT");
        let code = running.code();
        let (names, is_there) = (names(), output.is_dir());
        assert_eq!(names.len(), usize::from(is_there), "{names:?} after {code:?}");
        assert!(code == Some(130) || is_there, "{code:?}");
        assert!(!is_there || output.join(MANIFEST).is_file());
        assert!(is_there || !is_replacing);
    }
}
