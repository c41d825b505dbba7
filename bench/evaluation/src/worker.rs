//! A process that runs one model, so that two models can take turns without sharing memory, caches
//! or threads.
//!
//! The parent writes one request per line and reads one answer per line, both JSON.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use epitome_runtime::{GenerationParameters, SessionOptions, Summarizer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::machine::peak_memory;
use crate::sweep::Made;

/// Request to summarize a document.
#[derive(Serialize, Deserialize)]
struct Request {
    text: String,
    /// Generation parameters under transformers' names.
    parameters: Map<String, Value>,
}

/// Answer of the worker.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The model is loaded.
    Ready { load_ms: f64 },
    /// A summary, and the peak memory of the process.
    Made { made: Made, memory_bytes: Option<u64> },
    /// The model failed.
    Failed { problem: String },
}

/// Runs a model for the parent process until the input ends. `handicap` slows every summary by this
/// fraction. A study uses it to measure the smallest slowdown that is found.
///
/// # Errors
///
/// [`Error::Io`] when the parent is gone. Errors of the model are sent to the parent.
pub fn serve(
    model: &Path,
    options: &SessionOptions,
    handicap: f64,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<()> {
    let mut say = |answer: &Answer| {
        let mut line = serde_json::to_vec(answer).expect("plain values become JSON");
        line.push(b'\n');
        output.write_all(&line).and_then(|()| output.flush()).map_err(Error::io("standard output"))
    };
    let start = Instant::now();
    let mut summarizer = match Summarizer::open_with(model, options) {
        Ok(summarizer) => summarizer,
        Err(error) => return say(&Answer::Failed { problem: error.to_string() }),
    };
    say(&Answer::Ready { load_ms: start.elapsed().as_secs_f64() * 1e3 })?;
    for line in input.lines() {
        let line = line.map_err(Error::io("standard input"))?;
        let answer = match answer(&mut summarizer, &line, handicap) {
            Ok(made) => Answer::Made { made, memory_bytes: peak_memory() },
            Err(problem) => Answer::Failed { problem },
        };
        say(&answer)?;
    }
    Ok(())
}

fn answer(
    summarizer: &mut Summarizer,
    line: &str,
    handicap: f64,
) -> std::result::Result<Made, String> {
    let request: Request = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let parameters =
        GenerationParameters::from_json(&request.parameters).map_err(|error| error.to_string())?;
    let summaries =
        summarizer.summarize(&[request.text], &parameters).map_err(|error| error.to_string())?;
    let mut made = summaries.first().map(Made::from).unwrap_or_default();
    if handicap > 0.0 {
        let start = Instant::now();
        let wait = Duration::from_secs_f64(made.milliseconds.total() * handicap / 1e3);
        while start.elapsed() < wait {
            std::hint::spin_loop();
        }
        made.milliseconds.decode += start.elapsed().as_secs_f64() * 1e3;
    }
    Ok(made)
}

/// A program that runs [`serve`] for a model.
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the program.
    pub path: PathBuf,
    /// Arguments of the program.
    pub arguments: Vec<OsString>,
    /// Path of the model, for messages.
    pub model: PathBuf,
}

/// A model that summarizes documents one by one.
pub(crate) trait Model {
    /// Summarizes a document with parameters under transformers' names.
    fn summarize(&mut self, text: &str, parameters: &Map<String, Value>) -> Result<Made>;
    /// Time of loading in milliseconds.
    fn load_ms(&self) -> f64;
    /// Peak memory in bytes, if the system tells.
    fn memory_bytes(&self) -> Option<u64>;
}

/// Starts processes of a model.
pub(crate) trait Start {
    /// Starts a new process and loads the model.
    fn start(&self) -> Result<Box<dyn Model>>;
}

impl Start for Program {
    fn start(&self) -> Result<Box<dyn Model>> {
        Ok(Box::new(Worker::start(self)?))
    }
}

/// The parent's side of a process. Dropping it ends the process.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    model: PathBuf,
    load_ms: f64,
    memory_bytes: Option<u64>,
}

impl Worker {
    fn start(program: &Program) -> Result<Self> {
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io(&program.path))?;
        let input = child.stdin.take().expect("a pipe was asked for");
        let output = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let model = program.model.clone();
        let mut worker = Self { child, input, output, model, load_ms: 0.0, memory_bytes: None };
        match worker.read()? {
            Answer::Ready { load_ms } => worker.load_ms = load_ms,
            _ => return Err(worker.failed("it did not load the model")),
        }
        Ok(worker)
    }

    fn read(&mut self) -> Result<Answer> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).map_err(Error::io(&self.model))?;
        if read == 0 {
            return Err(self.failed("it ended early"));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Failed { problem }) => Err(self.failed(problem)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.failed("it gave an answer that is none")),
        }
    }

    fn failed(&self, problem: impl Into<String>) -> Error {
        Error::Worker { model: self.model.clone(), problem: problem.into() }
    }
}

impl Model for Worker {
    fn summarize(&mut self, text: &str, parameters: &Map<String, Value>) -> Result<Made> {
        let request = Request { text: text.to_owned(), parameters: parameters.clone() };
        let mut line = serde_json::to_vec(&request).expect("plain values become JSON");
        line.push(b'\n');
        if self.input.write_all(&line).and_then(|()| self.input.flush()).is_err() {
            return Err(self.failed("it ended early"));
        }
        match self.read()? {
            Answer::Made { made, memory_bytes } => {
                self.memory_bytes = memory_bytes;
                Ok(made)
            }
            _ => Err(self.failed("it gave another answer than was asked for")),
        }
    }

    fn load_ms(&self) -> f64 {
        self.load_ms
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.memory_bytes
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Program {
        let arguments = ["-c", script].map(OsString::from).to_vec();
        Program { path: "/bin/sh".into(), arguments, model: "models/new".into() }
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_fails_is_an_error_that_names_the_model() {
        let started = |script: &str| match program(script).start() {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        };
        let start = "the process that ran 'models/new' failed: ";
        assert_eq!(started("exit 3"), format!("{start}it ended early"));
        assert_eq!(started("echo nonsense"), format!("{start}it gave an answer that is none"));
        let failed = r#"echo '{"failed":{"problem":"no such folder"}}'"#;
        assert_eq!(started(failed), format!("{start}no such folder"));
        let ready = r#"echo '{"ready":{"load_ms":5}}'; read line"#;
        let mut model = program(ready).start().expect("it starts");
        assert_eq!(model.load_ms(), 5.0);
        let error = model.summarize("a text", &Map::new()).expect_err("it ends");
        assert!(error.to_string().starts_with(start), "{error}");
    }

    #[test]
    fn a_model_that_cannot_be_loaded_is_told() {
        let mut said = Vec::new();
        let options = SessionOptions::default();
        let nothing = std::io::empty();
        serve(Path::new("no such folder"), &options, 0.0, nothing, &mut said).expect("told");
        let said = String::from_utf8(said).expect("UTF-8");
        assert!(said.starts_with(r#"{"failed":{"problem":"'no such folder'"#), "{said}");
    }
}
