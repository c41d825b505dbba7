//! The parent's side of isolated reading.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::request::{Answer, Limits, Request, longest_answer};
use crate::detect::{Found, detect};
use crate::document::Document;
use crate::error::{Error, ErrorKind};
use crate::options::Options;
use crate::read::read;

/// The subcommand that [`Extractor::of_this_program`] calls.
const SUBCOMMAND: &str = "extract-document";
/// Largest file in bytes that is read in this process. Larger ones of any format are read in a
/// child, so that this process stays small.
const MAX_IN_PROCESS: usize = 1 << 20;
/// Largest amount of a child's standard error that is kept, in bytes.
const MAX_STDERR: u64 = 4096;

/// The path of the executable of this process.
///
/// # Errors
///
/// The system does not say where it is.
pub fn running_program() -> io::Result<PathBuf> {
    // On Linux this link leads to the program, even after its file was replaced. On other systems
    // anybody may have created a file with this name.
    let link = Path::new("/proc/self/exe");
    let linked = cfg!(target_os = "linux") && link.exists();
    if linked { Ok(link.into()) } else { std::env::current_exe() }
}

/// Reads documents. Formats that a hostile file may exploit are read in a child process.
#[derive(Clone, Debug)]
pub struct Extractor {
    program: PathBuf,
    arguments: Vec<OsString>,
    options: Options,
    limits: Limits,
}

impl Extractor {
    /// Creates an extractor that calls `program` with `arguments` and one more argument, which the
    /// program must pass to [`child_main`](super::child_main).
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments,
            options: Options::default(),
            limits: Limits::default(),
        }
    }

    /// Creates an extractor that calls this program's subcommand `extract-document`.
    ///
    /// # Errors
    ///
    /// The system does not say where the program is.
    pub fn of_this_program() -> io::Result<Self> {
        Ok(Self::new(running_program()?, vec![SUBCOMMAND.into()]))
    }

    /// Sets the options of reading.
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the limits of child processes.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Reads a file. Its name is in every error.
    ///
    /// # Errors
    ///
    /// An [`Error`] says what is wrong with the file.
    pub fn read_file(&self, path: &Path) -> Result<Vec<Document>, Error> {
        let name = path.display().to_string();
        let fail = |error: io::Error| Error::new(Some(&name), ErrorKind::Io(error.to_string()));
        let mut file = File::open(path).map_err(fail)?;
        let mut bytes = Vec::new();
        (&file).take(MAX_IN_PROCESS as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
        if is_isolated(&bytes, &name) {
            // A pipe cannot be read twice.
            if file.rewind().is_ok() {
                return self.in_child(Stdio::from(file), &[], Some(&name));
            }
            let rest = self.limits.file.saturating_sub(bytes.len() as u64) + 1;
            (&file).take(rest).read_to_end(&mut bytes).map_err(fail)?;
        }
        self.read(&bytes, Some(&name))
    }

    /// Reads a document from bytes. `name` appears in messages, and decides if the content could be
    /// of two formats.
    ///
    /// # Errors
    ///
    /// An [`Error`] says what is wrong with the document.
    pub fn read(&self, bytes: &[u8], name: Option<&str>) -> Result<Vec<Document>, Error> {
        if is_isolated(bytes, name.unwrap_or_default()) {
            self.in_child(Stdio::piped(), bytes, name)
        } else {
            read(bytes, name, &self.options)
        }
    }

    /// Runs the child on a file, or if its standard input is a pipe, on the bytes.
    fn in_child(
        &self,
        stdin: Stdio,
        bytes: &[u8],
        name: Option<&str>,
    ) -> Result<Vec<Document>, Error> {
        self.try_in_child(stdin, bytes, name).map_err(|kind| Error::new(name, kind))
    }

    fn try_in_child(&self, stdin: Stdio, bytes: &[u8], name: Option<&str>) -> Answer {
        let request = Request {
            name: name.map(str::to_owned),
            options: self.options.clone(),
            limits: self.limits,
        };
        let request = serde_json::to_string(&request).map_err(io_error)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(request)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = Running(child.map_err(io_error)?);
        let end = Instant::now() + Duration::from_secs(self.limits.seconds);
        thread::scope(|scope| {
            let (stdin, stdout) = (child.0.stdin.take(), child.0.stdout.take());
            if let Some(mut stdin) = stdin {
                // A child that ends early closes the pipe. That is not an error here.
                scope.spawn(move || drop(stdin.write_all(bytes)));
            }
            let complaint = child.0.stderr.take();
            let complaint = scope.spawn(move || read_some(complaint, MAX_STDERR));
            let (sender, answers) = mpsc::channel();
            let longest = longest_answer(&self.options);
            scope.spawn(move || sender.send(read_some(stdout, longest + 1)));
            let answer = answers.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(answer) = answer else {
                child.end();
                return Err(ErrorKind::OutOfTime(self.limits.seconds));
            };
            if answer.len() as u64 > longest {
                child.end();
                return Err(crate::builder::too_much_text(self.options.max_text));
            }
            // A child that has closed its output ends now, or is killed.
            let status = child.wait_until(end);
            let complaint = complaint.join().unwrap_or_default();
            match serde_json::from_slice::<Answer>(&answer) {
                Ok(answer) => answer,
                Err(_) => Err(self.crash(status, &complaint)),
            }
        })
    }

    /// The error of a child that ended without an answer.
    fn crash(&self, status: Option<ExitStatus>, complaint: &[u8]) -> ErrorKind {
        let complaint = String::from_utf8_lossy(complaint);
        let Some(status) = status else { return ErrorKind::OutOfTime(self.limits.seconds) };
        if complaint.contains("memory allocation of") || complaint.contains("capacity overflow") {
            return ErrorKind::OutOfMemory(self.limits.memory);
        }
        if complaint.contains("has overflowed its stack") {
            return ErrorKind::Crashed("its parts nest too deeply".into());
        }
        let line = complaint.lines().next().unwrap_or_default();
        ErrorKind::Crashed(if line.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {line}")
        })
    }
}

/// A child process that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn wait_until(&mut self, end: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(100);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.end();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_isolated(bytes: &[u8], name: &str) -> bool {
    bytes.len() > MAX_IN_PROCESS
        || match detect(bytes, Some(name)) {
            Found::Zip => true,
            Found::Format(format) => format.is_isolated(),
            Found::Empty | Found::Other(_) => false,
        }
}

/// Reads the output of a child, up to `limit` bytes.
fn read_some(from: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let _ = from.take(limit).read_to_end(&mut bytes);
    }
    bytes
}

fn io_error(error: impl ToString) -> ErrorKind {
    ErrorKind::Io(error.to_string())
}
