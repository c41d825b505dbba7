//! Asynchronous endpoints: a request goes to S3, the endpoint works on it when it can, and the
//! answer comes to S3.

mod journal;

use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_aws::deployment::async_output;
use epitome_aws::{AsyncCall, Invoker, S3, S3Uri};
use epitome_runtime::beside;
use epitome_runtime::bundle::digest;
use serde_json::{Map, Value, json};

use self::journal::Journal;
use crate::commands::seconds::Seconds;
use crate::failure::{self, Interrupted, Usage};
use crate::inputs::{self, Document, Found, Input, Reader};
use crate::progress::SummaryBar;
use crate::{aws, interrupt};
use epitome_runtime::progress::{Progress, Total};

/// How often the wish to stop is looked for.
const TICK: Duration = Duration::from_millis(100);

/// What is said only with `--async`.
#[derive(Args)]
#[command(next_help_heading = "Asynchronous endpoints")]
pub(super) struct LaterFlags {
    /// The endpoint is asynchronous: requests and answers go over S3
    #[arg(long = "async", conflicts_with = "stream")]
    pub(super) later: bool,
    /// Prefix that requests are put below [default: requests/ below the endpoint's answers]
    #[arg(long, value_name = "s3://...", requires = "later")]
    upload: Option<S3Uri>,
    /// Write a file for each document to this folder, and pass over those that are there and
    /// newer; requests that are under way are taken up again
    #[arg(long, value_name = "DIR", requires = "later")]
    output_dir: Option<PathBuf>,
    /// Documents that are under way at a time
    #[arg(long, value_name = "N", default_value_t = 16, requires = "later")]
    flight: usize,
    /// Time between two looks for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(2), requires = "later")]
    interval: Seconds,
    /// Longest wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(3600), requires = "later")]
    timeout: Seconds,
}

/// Summarizes files with an asynchronous endpoint.
pub(super) fn run(
    flags: &LaterFlags,
    files: &[PathBuf],
    invoker: &Invoker,
    endpoint: &str,
    parameters: &Map<String, Value>,
) -> Result<()> {
    let requests = match &flags.upload {
        Some(prefix) => prefix.clone(),
        None => match async_output(&aws::control_plane()?, endpoint)? {
            Some(answers) => answers.join("requests"),
            None => bail!(Usage(format!(
                "endpoint {endpoint} answers at once: leave --async out, or deploy it with \
                 --async-output"
            ))),
        },
    };
    let inputs = inputs::expand(files, flags.output_dir.as_deref())?;
    if let Some(folder) = &flags.output_dir {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder '{}'", folder.display()))?;
    }
    let journal = Journal::open(flags.output_dir.as_deref())?;
    let pending: VecDeque<(usize, &Input)> = inputs
        .iter()
        .filter(|input| !flags.output_dir.as_deref().is_some_and(|it| has_newer(it, input)))
        .enumerate()
        .collect();
    let skipped = inputs.len() - pending.len();
    let total = pending.len();
    let work = Work {
        flags,
        invoker,
        s3: aws::s3()?,
        endpoint,
        requests,
        parameters,
        journal,
        pending: Mutex::new(pending),
        written: Mutex::new(Written::default()),
        bar: SummaryBar::new(),
    };
    work.bar.start("Summarizing", Total::Items(total as u64));
    interrupt::during(|| {
        thread::scope(|scope| {
            for _ in 0..flags.flight.clamp(1, 256).min(total) {
                scope.spawn(|| work.run());
            }
        });
    });
    work.bar.clear();
    let Written { done, failed, .. } =
        work.written.into_inner().unwrap_or_else(PoisonError::into_inner);
    if flags.output_dir.is_some() {
        let skipped = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} were there already"),
        };
        eprintln!("Summarized {done} of {total} files{skipped}");
    }
    if interrupt::requested() {
        let message = format!("interrupted after {done} of {total} files");
        bail!(Interrupted(match flags.output_dir {
            Some(_) => format!("{message}: the same command goes on"),
            None => message,
        }));
    }
    if failed > 0 {
        bail!("{failed} of {total} files have no summary, or not of all their documents");
    }
    work.journal.remove()
}

/// All files on their way.
struct Work<'a> {
    flags: &'a LaterFlags,
    invoker: &'a Invoker,
    s3: &'a S3,
    endpoint: &'a str,
    requests: S3Uri,
    parameters: &'a Map<String, Value>,
    journal: Journal,
    pending: Mutex<VecDeque<(usize, &'a Input)>>,
    written: Mutex<Written>,
    bar: SummaryBar,
}

/// What was written, and what waits for those before it.
#[derive(Default)]
struct Written {
    done: usize,
    failed: usize,
    next: usize,
    waiting: std::collections::BTreeMap<usize, String>,
}

impl Work<'_> {
    /// Takes files until there are no more.
    fn run(&self) {
        let Ok(reader) = Reader::new(None).map_err(|error| failure::tell(&error)) else { return };
        loop {
            let next = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((at, input)) = next.filter(|_| !interrupt::requested()) else { return };
            let text = self.file(&reader, input);
            if interrupt::requested() && text.is_err() {
                return;
            }
            self.write(at, input, text);
            self.bar.advance(1);
        }
    }

    /// The summaries of a file, a line each.
    fn file(&self, reader: &Reader, input: &Input) -> Result<String> {
        let Found::Documents(documents) = reader.read(input)? else { return Ok(String::new()) };
        let mut text = String::new();
        for document in &documents {
            let summaries = self.document(document);
            for summary in summaries.with_context(|| document.source.clone())? {
                text.push_str(&summary);
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn document(&self, document: &Document) -> Result<Vec<String>> {
        let body = json!({"inputs": document.text.text(), "parameters": self.parameters});
        let body = body.to_string();
        let id = digest::bytes(format!("{}\n{body}", self.endpoint).as_bytes())[..32].to_owned();
        let request = self.requests.join(&format!("{id}.json"));
        let call = match self.journal.find(&id) {
            Some(call) => call,
            None => {
                self.s3.put(&request, "application/json", body.as_bytes(), &())?;
                let call = self.invoker.call_later(&request, &id)?;
                self.journal.note(&id, &call)?;
                call
            }
        };
        let answer = self.wait(&call);
        if !interrupt::requested() {
            // Also after an error: the same command asks anew.
            self.journal.forget(&id)?;
            self.s3.delete(&request)?;
        }
        Ok(self.invoker.read_answer(&answer?)?)
    }

    /// The answer, when it comes.
    fn wait(&self, call: &AsyncCall) -> Result<Vec<u8>> {
        let end = Instant::now() + self.flags.timeout.0;
        loop {
            if let Some(answer) = self.s3.get(&call.output, &())? {
                return Ok(answer);
            }
            if let Some(failure) = &call.failure
                && let Some(said) = self.s3.get(failure, &())?
            {
                bail!("the endpoint could not summarize it: {}", message(&said));
            }
            if Instant::now() >= end {
                bail!(
                    "no answer came within {} s at {}: the same command waits for it again",
                    self.flags.timeout,
                    call.output
                );
            }
            let next = Instant::now() + self.flags.interval.0;
            while Instant::now() < next {
                if interrupt::requested() {
                    bail!(epitome_aws::Error::Interrupted);
                }
                thread::sleep(TICK.min(next.saturating_duration_since(Instant::now())));
            }
        }
    }

    /// Writes the summaries of a file: to its own file, or in the order of the files to standard
    /// output.
    fn write(&self, at: usize, input: &Input, text: Result<String>) {
        let text = text.and_then(|text| match &self.flags.output_dir {
            Some(folder) => put(&target(folder, input), &text).map(|()| String::new()),
            None => Ok(text),
        });
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match &text {
            Ok(_) => written.done += 1,
            Err(error) => {
                written.failed += 1;
                failure::tell(error);
            }
        }
        written.waiting.insert(at, text.unwrap_or_default());
        let mut out = stdout().lock();
        while let Some(text) = {
            let next = written.next;
            written.waiting.remove(&next)
        } {
            written.next += 1;
            // A reader that went away has seen enough.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

/// What the container said, out of the JSON that it put it into.
fn message(said: &[u8]) -> String {
    let body: Value = serde_json::from_slice(said).unwrap_or_default();
    let text = body["message"].as_str().or(body["error"].as_str()).map(str::to_owned);
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(said).into_owned());
    text.trim().trim_end_matches('.').chars().take(300).collect()
}

fn target(folder: &Path, input: &Input) -> PathBuf {
    let mut name = match input.is_standard_input() {
        true => "standard-input".into(),
        false => input.below.clone().into_os_string(),
    };
    name.push(".txt");
    folder.join(name)
}

fn has_newer(folder: &Path, input: &Input) -> bool {
    let modified = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    match (modified(&target(folder, input)), modified(&input.path)) {
        (Some(summary), Some(document)) => summary >= document,
        _ => false,
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write '{}'", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(cannot)?;
    }
    beside::replace(path, text.as_bytes()).with_context(cannot)
}
