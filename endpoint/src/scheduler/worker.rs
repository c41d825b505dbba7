//! A worker: a thread with a model of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::generation::StopReason;
use epitome_runtime::tokenizer::Detokenizer;
use epitome_runtime::{Progress, Summary};

use super::Shared;
use super::engine::{Engine, OpenEngine};
use super::job::{Event, Task, Token};
use super::pace::Observed;
use super::queue::Batch;
use crate::error::ApiError;

/// How long to wait before a model that did not open is tried again: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Works until the queue is closed and empty; opens the model again after a panic.
pub(super) fn run(shared: &Arc<Shared>, open: &OpenEngine) {
    let mut backoff = BACKOFF.0;
    while !shared.queue.is_closed() {
        // Opening runs foreign code over a file that may be bad.
        let opened = catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|panic| Err(message(&*panic).into()));
        match opened {
            Ok(mut engine) => {
                backoff = BACKOFF.0;
                shared.worker_started();
                if serve(shared, &mut *engine) {
                    shared.worker_stopped();
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "the model cannot be opened");
                shared.worker_failed(error.to_string());
                shared.drop_orphans();
                shared.queue.wait_closed(backoff);
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
    shared.drop_orphans();
}

/// Works on batches. Whether it ended because the queue was closed, not because of a panic.
fn serve(shared: &Shared, engine: &mut dyn Engine) -> bool {
    while let Some(batch) = shared.queue.next() {
        let started = Instant::now();
        shared.metrics.batch_started(batch.tasks.len());
        let mut running = Running::new(shared, &batch.tasks, engine, started);
        let outcome = catch_unwind(AssertUnwindSafe(|| running.run(engine, &batch)));
        if let Err(panic) = outcome {
            tracing::error!(
                panic = message(&*panic),
                "a worker panicked and is started again"
            );
            shared.metrics.worker_panicked();
            // Before anyone is told, so that whoever is finds the server as it is.
            shared.worker_stopped();
            running.fail_unfinished(&ApiError::WorkerFailed);
            return false;
        }
    }
    true
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// A batch on its way through the engine.
struct Running<'a> {
    shared: &'a Shared,
    tasks: &'a [Task],
    detokenizers: Vec<Option<Detokenizer>>,
    done: Vec<bool>,
    started: Instant,
    /// Tasks in the current call of the engine, whose numbering is its own.
    call: Vec<usize>,
    /// What those of them tell that are finished.
    observed: Vec<Observed>,
}

impl<'a> Running<'a> {
    fn new(shared: &'a Shared, tasks: &'a [Task], engine: &dyn Engine, started: Instant) -> Self {
        let detokenizer = |task: &Task| task.stream.then(|| engine.detokenizer()).flatten();
        Self {
            shared,
            tasks,
            detokenizers: tasks.iter().map(detokenizer).collect(),
            done: vec![false; tasks.len()],
            started,
            call: Vec::new(),
            observed: Vec::new(),
        }
    }

    fn run(&mut self, engine: &mut dyn Engine, batch: &Batch) {
        let all: Vec<usize> = (0..self.tasks.len()).collect();
        let Err(error) = self.attempt(engine, batch, all) else {
            return;
        };
        let unfinished: Vec<usize> = (0..self.tasks.len())
            .filter(|&task| !self.done[task])
            .collect();
        if self.tasks.len() == 1 {
            return self.fail_unfinished(&error);
        }
        // One text's failure is not the others': each is tried alone. What was streamed cannot be taken back.
        for task in unfinished {
            if self.tasks[task].stream {
                self.fail(task, error.clone());
            } else if let Err(error) = self.attempt(engine, batch, vec![task]) {
                self.fail(task, error);
            }
        }
    }

    fn attempt(
        &mut self,
        engine: &mut dyn Engine,
        batch: &Batch,
        call: Vec<usize>,
    ) -> Result<(), ApiError> {
        let tasks = self.tasks;
        let texts: Vec<&str> = call.iter().map(|&task| tasks[task].text.as_str()).collect();
        self.call = call;
        self.observed.clear();
        engine.run(&texts, &batch.parameters, self)?;
        let observed = std::mem::take(&mut self.observed);
        self.shared.queue.observe(batch.rows_per_text, observed);
        Ok(())
    }

    fn fail(&mut self, task: usize, error: ApiError) {
        if !std::mem::replace(&mut self.done[task], true) {
            self.tasks[task].report(Event::Failed(error));
        }
    }

    fn fail_unfinished(&mut self, error: &ApiError) {
        for task in 0..self.tasks.len() {
            self.fail(task, error.clone());
        }
    }
}

impl Progress for Running<'_> {
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let task = self.call[document];
        // The best sequence is known at the end only; a stream shows the first.
        if sequence != 0 || !self.tasks[task].stream {
            return;
        }
        let text = match &mut self.detokenizers[task] {
            // Text that cannot be told yet comes with the finished summary.
            Some(detokenizer) => detokenizer.push(token).ok().flatten().unwrap_or_default(),
            None => String::new(),
        };
        self.tasks[task].report(Event::Token(Token { id: token, text }));
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        let task = self.call[document];
        self.observed.push(Observed::from(&summary));
        if summary.stopped == StopReason::Cancelled {
            self.shared.metrics.cancelled();
            let limit = self.tasks[task].deadline - self.tasks[task].queued;
            return self.fail(task, ApiError::Deadline(limit));
        }
        self.shared.metrics.summarized(&summary);
        self.done[task] = true;
        let task = &self.tasks[task];
        task.report(Event::Finished {
            text: task.index,
            summary: Box::new(summary),
            waited: self.started - task.queued,
        });
    }

    fn document_cancelled(&mut self, document: usize) -> bool {
        self.tasks[self.call[document]].is_abandoned()
    }
}
