//! Calls of asynchronous endpoints. A request goes to S3, the endpoint works on it later, and puts
//! the answer on S3.

mod journal;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write, stdout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use epitome_aws::deployment::async_output;
use epitome_aws::{AsyncCall, Invoker, S3, S3Uri};
use epitome_runtime::bundle::digest;
use serde_json::{Map, Value, json};

use self::journal::Journal;
use crate::commands::seconds::Seconds;
use crate::failure::{self, Interrupted, Usage};
use crate::inputs::{self, Document, Found, Input, Reader};
use crate::output_folder::OutputFolder;
use crate::progress::SummaryBar;
use crate::{aws, interrupt};
use epitome_runtime::progress::{Progress, Total};

/// Time between two checks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);

/// Flags that need `--async`.
#[derive(Args)]
#[command(next_help_heading = "Asynchronous endpoints")]
pub(super) struct AsyncFlags {
    /// The endpoint is asynchronous: requests and answers pass through S3
    #[arg(long = "async", conflicts_with = "stream")]
    pub(super) is_async: bool,
    /// Prefix that requests are put below [default: requests/ below the endpoint's answers]
    #[arg(long, value_name = "s3://...", requires = "is_async")]
    upload: Option<S3Uri>,
    /// Write a file for each document to this folder, and skip documents with a newer file there.
    /// Pending requests of an earlier call are resumed
    #[arg(long, value_name = "DIR", requires = "is_async")]
    output_dir: Option<PathBuf>,
    /// Largest number of pending documents
    #[arg(long, value_name = "N", default_value_t = 16, requires = "is_async")]
    flight: usize,
    /// Time between two checks for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(2), requires = "is_async")]
    interval: Seconds,
    /// Longest wait for an answer
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = Seconds::new(3600),
        requires = "is_async"
    )]
    timeout: Seconds,
}

/// Summarizes files with an asynchronous endpoint.
pub(super) fn run(
    flags: &AsyncFlags,
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
    let folder = flags.output_dir.as_deref();
    let folder = folder.map(|path| OutputFolder::create(path, "txt", &inputs)).transpose()?;
    let journal = Journal::open(flags.output_dir.as_deref())?;
    let pending: VecDeque<(usize, &Input)> = inputs
        .iter()
        .filter(|input| !folder.as_ref().is_some_and(|folder| folder.has_newer(input)))
        .enumerate()
        .collect();
    let skipped = inputs.len() - pending.len();
    let total = pending.len();
    let flight = flags.flight.clamp(1, 256);
    let workers = flight.min(total);
    let work = Work {
        flags,
        invoker,
        s3: aws::s3()?,
        endpoint,
        requests,
        parameters,
        reader: Reader::new(None)?,
        folder,
        journal,
        pending: Mutex::new(pending),
        free: AtomicUsize::new(flight - workers),
        written: Mutex::new(Written::default()),
        is_cut_off: AtomicBool::new(false),
        untidy: Once::new(),
        bar: SummaryBar::new(),
    };
    work.bar.start("Summarizing", Total::Items(total as u64));
    interrupt::during(|| {
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| work.run());
            }
        });
    });
    work.bar.clear();
    let Written { done, failed, left_out, error, .. } =
        work.written.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error).context("cannot write to standard output");
    }
    if left_out > 0 {
        eprintln!("epitome: note: passed over {left_out} of {total} files, which have no text");
    }
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
    work.journal.close()
}

/// The state that the worker threads share.
struct Work<'a> {
    flags: &'a AsyncFlags,
    invoker: &'a Invoker,
    s3: &'a S3,
    endpoint: &'a str,
    requests: S3Uri,
    parameters: &'a Map<String, Value>,
    reader: Reader,
    folder: Option<OutputFolder>,
    journal: Journal,
    pending: Mutex<VecDeque<(usize, &'a Input)>>,
    /// Number of further documents that may be pending. Each worker has one without a permit.
    free: AtomicUsize,
    written: Mutex<Written>,
    /// Whether standard output is closed.
    is_cut_off: AtomicBool,
    /// Tells only once that a request could not be removed.
    untidy: Once,
    bar: SummaryBar,
}

/// Output in the order of the files. Summaries wait until those of earlier files are written.
#[derive(Default)]
struct Written {
    done: usize,
    failed: usize,
    /// Number of files that are no documents.
    left_out: usize,
    next: usize,
    waiting: BTreeMap<usize, String>,
    /// The first error of writing to standard output.
    error: Option<io::Error>,
}

/// Permission for one more pending document. The permit is returned when it is dropped.
struct Permit<'a>(&'a AtomicUsize);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request without an answer yet.
struct PendingRequest<'a> {
    document: &'a Document,
    id: String,
    call: AsyncCall,
    since: Instant,
}

/// The summaries of a file, one per line.
#[derive(Default)]
struct Summaries {
    text: String,
    /// Ids of the requests that these summaries answer.
    requests: Vec<String>,
}

impl Work<'_> {
    /// Takes files until there are no more. Then returns its permit to the other workers.
    fn run(&self) {
        let _permit = Permit(&self.free);
        loop {
            let next = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((at, input)) = next.filter(|_| !self.is_over()) else { return };
            let found = self.file(input);
            if self.is_over() && found.is_err() {
                return;
            }
            self.write(at, input, found);
            self.bar.advance(1);
        }
    }

    /// Whether no more output is wanted.
    fn is_over(&self) -> bool {
        interrupt::requested() || self.is_cut_off.load(Ordering::Relaxed)
    }

    /// The summaries of a file; `None` if the file is no document.
    fn file(&self, input: &Input) -> Result<Option<Summaries>> {
        let Found::Documents(documents) = self.reader.read(input)? else { return Ok(None) };
        let (mut found, mut pending) = (Summaries::default(), VecDeque::new());
        let mut permits = Vec::new();
        let mut outcome = self.send_all(&documents, &mut permits, &mut pending, &mut found);
        // Also waits after an error: the endpoint works on these requests.
        while !pending.is_empty() {
            outcome = outcome.and(self.next_answer(&mut pending, &mut found));
            permits.pop();
        }
        if outcome.is_err() && self.folder.is_none() {
            // Without a journal the same command cannot find these answers again.
            found.requests.iter().for_each(|id| self.end(id));
        }
        outcome.map(|()| Some(found))
    }

    /// Sends as many documents of the file as there are permits.
    fn send_all<'a>(
        &'a self,
        documents: &'a [Document],
        permits: &mut Vec<Permit<'a>>,
        pending: &mut VecDeque<PendingRequest<'a>>,
        found: &mut Summaries,
    ) -> Result<()> {
        for document in documents {
            if pending.len() > permits.len() {
                match self.permit() {
                    Some(permit) => permits.push(permit),
                    None => self.next_answer(pending, found)?,
                }
            }
            if self.is_over() {
                bail!(epitome_aws::Error::Interrupted);
            }
            pending.push_back(self.send(document).with_context(|| document.source.clone())?);
        }
        Ok(())
    }

    /// Takes a permit, if there is one.
    fn permit(&self) -> Option<Permit<'_>> {
        let less = |free: usize| free.checked_sub(1);
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok().then(|| Permit(&self.free))
    }

    /// Sends the request for a document, unless it is pending already.
    fn send<'a>(&self, document: &'a Document) -> Result<PendingRequest<'a>> {
        let body = json!({"inputs": document.text.text(), "parameters": self.parameters});
        let body = body.to_string();
        // Equal documents have different requests, because an answered request is removed.
        let whole = json!([self.endpoint, document.source, body]).to_string();
        let id = digest::bytes(whole.as_bytes())[..32].to_owned();
        let call = match self.journal.find(&id) {
            Some(call) => call,
            None => {
                let request = self.request(&id);
                self.s3.put(&request, "application/json", body.as_bytes(), &())?;
                let call = self.invoker.call_async(&request, &id)?;
                self.journal.note(&id, &call)?;
                call
            }
        };
        Ok(PendingRequest { document, id, call, since: Instant::now() })
    }

    /// Waits for the oldest request. The request stays on S3 until its summaries are written.
    fn next_answer(
        &self,
        pending: &mut VecDeque<PendingRequest<'_>>,
        found: &mut Summaries,
    ) -> Result<()> {
        let Some(oldest) = pending.pop_front() else { return Ok(()) };
        let PendingRequest { document, id, call, since } = oldest;
        let answer = self.wait(&call, since).with_context(|| document.source.clone())?;
        match answer.and_then(|answer| Ok(self.invoker.read_answer(&answer)?)) {
            Ok(summaries) => {
                found.requests.push(id);
                for summary in &summaries {
                    found.text.push_str(summary);
                    found.text.push('\n');
                }
                Ok(())
            }
            Err(error) => {
                // The request is removed, so that the same command sends a new one.
                self.end(&id);
                Err(error.context(document.source.clone()))
            }
        }
    }

    /// Address of a request.
    fn request(&self, id: &str) -> S3Uri {
        self.requests.join(&format!("{id}.json"))
    }

    /// Forgets a request and removes it from S3. A failed removal is no failure of the work.
    fn end(&self, id: &str) {
        let forgotten = self.journal.forget(id);
        let removed = self.s3.delete(&self.request(id));
        if let Err(error) = forgotten.and(removed.context("a request stays on S3")) {
            let error = failure::sentence(&error);
            self.untidy.call_once(|| eprintln!("epitome: note: {error}"));
        }
    }

    /// Waits for the answer to a request that was sent at `since`, or for the container's error.
    /// The request stays pending where neither comes in time.
    fn wait(&self, call: &AsyncCall, since: Instant) -> Result<Result<Vec<u8>>> {
        let end = since + self.flags.timeout.0;
        loop {
            if let Some(answer) = self.s3.get(&call.output, &())? {
                return Ok(Ok(answer));
            }
            if let Some(failure) = &call.failure
                && let Some(said) = self.s3.get(failure, &())?
            {
                let said = message(&said);
                return Ok(Err(anyhow!("the endpoint could not summarize it: {said}")));
            }
            if Instant::now() >= end {
                let again = match self.folder {
                    Some(_) => "the same command waits for it again",
                    None => "it may still come there",
                };
                let timeout = self.flags.timeout;
                bail!("no answer came within {timeout} s at {}: {again}", call.output);
            }
            let next = Instant::now() + self.flags.interval.0;
            loop {
                if self.is_over() {
                    bail!(epitome_aws::Error::Interrupted);
                }
                if Instant::now() >= next {
                    break;
                }
                thread::sleep(TICK.min(next.saturating_duration_since(Instant::now())));
            }
        }
    }

    /// Writes the summaries of a file to its own file, or to standard output in the order of the
    /// files.
    fn write(&self, at: usize, input: &Input, found: Result<Option<Summaries>>) {
        let found = found.and_then(|found| {
            if let (Some(folder), Some(summaries)) = (&self.folder, &found) {
                folder.put(input, &summaries.text)?;
            }
            Ok(found)
        });
        let mut summaries = Summaries::default();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(Some(found)) => {
                written.done += 1;
                summaries = found;
            }
            Ok(None) => written.left_out += 1,
            Err(error) => {
                written.failed += 1;
                failure::tell(&error);
            }
        }
        if self.folder.is_none() {
            written.waiting.insert(at, summaries.text);
            if let Err(error) = written.flush() {
                written.error.get_or_insert(error);
                self.is_cut_off.store(true, Ordering::Relaxed);
            }
        }
        drop(written);
        for id in &summaries.requests {
            self.end(id);
        }
    }
}

impl Written {
    /// Writes the summaries to standard output that wait for no other file.
    fn flush(&mut self) -> io::Result<()> {
        let mut out = stdout().lock();
        while let Some(text) = self.waiting.remove(&self.next) {
            self.next += 1;
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    }
}

/// Takes the container's message out of its JSON.
fn message(said: &[u8]) -> String {
    let body: Value = serde_json::from_slice(said).unwrap_or_default();
    let text = body["message"].as_str().or(body["error"].as_str()).map(str::to_owned);
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(said).into_owned());
    text.trim().trim_end_matches('.').chars().take(300).collect()
}
