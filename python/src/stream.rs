//! Pieces of summaries while they are generated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use epitome_runtime::tokenizer::Detokenizer;
use epitome_runtime::{Error, GenerationParameters, Progress, Summarizer, Summary};
use pyo3::prelude::*;

use crate::errors::{Class, exception, of_runtime};
use crate::lock::lock;
use crate::signals::PAUSE;

/// An event of a stream.
enum Event {
    /// A piece of the summary of the document with this index.
    Piece(usize, String),
    Failed(Error),
    /// All documents are summarized.
    End,
}

/// An iterator over `(document, piece of text)`. Beam search chooses at the end, so its summaries
/// are single pieces.
#[pyclass(frozen, weakref, module = "epitome_onnx._epitome")]
pub(crate) struct Pieces {
    events: Mutex<Receiver<Event>>,
    stopped: Arc<AtomicBool>,
    ended: AtomicBool,
    worker: Mutex<Option<JoinHandle<()>>>,
    process: u32,
}

impl Pieces {
    /// Starts to summarize in a new thread, which does not use Python.
    pub(crate) fn start(
        summarizer: Arc<Mutex<Summarizer>>,
        texts: Vec<String>,
        parameters: GenerationParameters,
    ) -> PyResult<Self> {
        let (sender, events) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = stopped.clone();
        let worker = thread::Builder::new().name("epitome-stream".into()).spawn(move || {
            let summarizer = &mut lock(&summarizer);
            let tokenizer = summarizer.tokenizer();
            let start = |_| Text { detokenizer: tokenizer.detokenizer(), sent: String::new() };
            let mut sending =
                Sending { texts: texts.iter().map(start).collect(), sender, stopped: is_stopped };
            let result = summarizer.summarize_each(&texts, &parameters, &mut sending);
            sending.send(result.map_or_else(Event::Failed, |()| Event::End));
        })?;
        Ok(Self {
            events: events.into(),
            stopped,
            ended: AtomicBool::new(false),
            worker: Some(worker).into(),
            process: std::process::id(),
        })
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[pymethods]
impl Pieces {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(usize, String)>> {
        let failed = |message: &str| Err(exception(py, Class::Generation, message));
        if std::process::id() != self.process {
            return failed("a stream does not survive a fork: start another in the new process");
        }
        let wait =
            || self.events.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PAUSE);
        while !self.ended.load(Ordering::Relaxed) {
            match py.detach(wait) {
                Ok(Event::Piece(document, text)) => return Ok(Some((document, text))),
                Ok(Event::End) => self.ended.store(true, Ordering::Relaxed),
                Ok(Event::Failed(error)) => {
                    self.ended.store(true, Ordering::Relaxed);
                    return Err(of_runtime(py, &error));
                }
                Err(RecvTimeoutError::Timeout) => {
                    py.check_signals().inspect_err(|_| self.stop())?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended.store(true, Ordering::Relaxed);
                    return failed("the stream broke off, which is a bug of epitome");
                }
            }
        }
        Ok(None)
    }

    /// Ends the search.
    fn close(&self, py: Python<'_>) {
        self.stop();
        if std::process::id() == self.process {
            let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A panic of the thread was already reported to the reader of the stream.
            py.detach(|| worker.map(JoinHandle::join));
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The summary of a document so far.
struct Text {
    detokenizer: Detokenizer,
    sent: String,
}

/// Sends final pieces of text.
struct Sending {
    texts: Vec<Text>,
    sender: Sender<Event>,
    stopped: Arc<AtomicBool>,
}

impl Sending {
    fn send(&self, event: Event) {
        // Without a reader, the search ends at its next step.
        let _ = self.sender.send(event);
    }

    fn piece(&mut self, document: usize, piece: &str) {
        if !piece.is_empty() {
            self.texts[document].sent.push_str(piece);
            self.send(Event::Piece(document, piece.to_owned()));
        }
    }
}

impl Progress for Sending {
    fn cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        if sequence == 0 {
            // A token whose text is incomplete or invalid is sent with the whole summary.
            let piece = self.texts[document].detokenizer.push(token).ok().flatten();
            self.piece(document, &piece.unwrap_or_default());
        }
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        let rest = summary.text().strip_prefix(self.texts[document].sent.as_str());
        self.piece(document, rest.unwrap_or_default());
    }
}
