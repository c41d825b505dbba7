//! The scheduler with a fake engine.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use epitome_runtime::batching::Demand;
use epitome_runtime::generation::StopReason;
use epitome_runtime::summarizer::Texts;
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, LongOptions, Progress, Sequence, Summary, Timing};

use super::*;
use crate::in_flight::Budget;

/// Maximum time of each wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Log that the engines of a test share.
#[derive(Default)]
struct Log {
    opened: AtomicUsize,
    /// Texts in the order in which they were taken.
    taken: Mutex<Vec<String>>,
    steps: AtomicUsize,
}

impl Log {
    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

/// The text "panic" panics, "bad" fails, "slow" decodes until it is cancelled, and "broken" fails
/// all running texts. Each other text is its own summary, in upper case.
struct Fake(Arc<Log>);

impl Fake {
    fn take(&self, text: &str) {
        self.0.taken.lock().unwrap().push(text.to_owned());
        assert!(text != "panic", "asked to panic");
    }
}

impl Engine for Fake {
    fn run(&mut self, texts: &mut dyn Texts) -> epitome_runtime::Result<()> {
        while texts.waiting().is_some() {
            let Some(number) = texts.take() else { continue };
            let text = texts.text(number).to_owned();
            self.take(&text);
            if text == "broken" {
                return Err(epitome_runtime::Error::Generate("no step is possible".into()));
            }
            if text == "bad" {
                let error = epitome_runtime::Error::Generate("bad scores".into());
                texts.ended(number, Err(error));
                continue;
            }
            let mut stopped = StopReason::Finished;
            while text == "slow" && stopped != StopReason::Cancelled {
                std::thread::sleep(Duration::from_millis(1));
                self.0.steps.fetch_add(1, Ordering::SeqCst);
                if texts.cancelled(number) {
                    stopped = StopReason::Cancelled;
                }
            }
            texts.token(number, 0, 7);
            texts.ended(number, Ok(summary(&text, stopped)));
        }
        Ok(())
    }

    fn run_long(
        &mut self,
        text: &str,
        _: &LongOptions,
        _: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()> {
        self.take(text);
        progress.summarized(0, summary(text, StopReason::Finished));
        Ok(())
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        None
    }
}

fn summary(text: &str, stopped: StopReason) -> Summary {
    let sequence = Sequence {
        text: text.to_uppercase(),
        token_ids: vec![0, 1],
        score: None,
        token_scores: None,
    };
    Summary {
        sequences: vec![sequence],
        input_tokens: 1,
        truncated: false,
        steps: 1,
        stopped,
        timing: Timing::default(),
        read: None,
    }
}

fn start(settings: SchedulingSettings) -> (Scheduler, Arc<Log>) {
    let log = Arc::new(Log::default());
    let engine_log = log.clone();
    let open: Arc<OpenEngine> = Arc::new(move || {
        engine_log.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Fake(engine_log.clone())) as Box<dyn Engine>)
    });
    let workers = settings.workers.unwrap_or(NonZeroUsize::MIN);
    let metrics = Arc::new(Metrics::new());
    let scheduler = Scheduler::start(&settings, workers, metrics, Arc::default(), open).unwrap();
    until(|| scheduler.health() == Health::Ready);
    (scheduler, log)
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it did not come to pass in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const DEMAND: Demand = Demand { rows: 1, tokens: 0, longest: 20 };

/// A request with a document for each text.
pub(super) fn request(texts: &[&str]) -> Request {
    with_parameters(texts, GenerationParameters::default())
}

fn with_parameters(texts: &[&str], parameters: GenerationParameters) -> Request {
    let mut group = Group::new(parameters, DEMAND);
    let document =
        |(number, text): (usize, &&str)| Document { number, text: (*text).to_owned().into() };
    group.documents = texts.iter().enumerate().map(document).collect();
    Request {
        groups: vec![group],
        deadline: Instant::now() + PATIENCE,
        stream: false,
        charge: Budget::new(0, 0).open(),
    }
}

/// A request with other parameters than [`request`].
fn other(text: &str) -> Request {
    let num_beams = Some(2);
    with_parameters(&[text], GenerationParameters { num_beams, ..Default::default() })
}

fn submit(scheduler: &Scheduler, request: Request) -> UnboundedReceiver<Event> {
    scheduler.submit(request).unwrap()
}

/// The texts of all summaries in order of the documents, or the first error.
fn results(mut events: UnboundedReceiver<Event>) -> Result<Vec<String>, ApiError> {
    let mut found = Vec::new();
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Finished { document, summary, .. } => {
                found.push((document, summary.text().to_owned()));
            }
            Event::DocumentFailed { error, .. } | Event::Failed(error) => return Err(error),
            Event::Token(_) => {}
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, text)| text).collect())
}

/// Keeps the only worker busy until the returned receiver is dropped.
fn occupy(scheduler: &Scheduler, log: &Log) -> UnboundedReceiver<Event> {
    let before = log.steps.load(Ordering::SeqCst);
    let slow = submit(scheduler, request(&["slow"]));
    until(|| log.steps.load(Ordering::SeqCst) > before);
    slow
}

#[test]
fn requests_take_turns_whatever_their_parameters() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let requests = [request(&["a", "bb", "ccc"]), other("x"), request(&["d"]), request(&["e"])];
    let receivers: Vec<_> =
        requests.into_iter().map(|request| submit(&scheduler, request)).collect();
    drop(slow);
    let answers: Vec<_> = receivers.into_iter().map(|events| results(events).unwrap()).collect();
    assert_eq!(answers, [vec!["A", "BB", "CCC"], vec!["X"], vec!["D"], vec!["E"]]);
    assert_eq!(log.taken()[1..], ["a", "x", "d", "e", "bb", "ccc"]);
}

#[test]
fn idle_workers_take_what_waits() {
    let settings = SchedulingSettings { workers: NonZeroUsize::new(2), ..Default::default() };
    let (scheduler, log) = start(settings);
    until(|| scheduler.state.queue.idle() == 2);
    let slow = submit(&scheduler, request(&["slow", "slow"]));
    until(|| log.taken().len() == 2);
    drop(slow);
    assert_eq!(results(submit(&scheduler, request(&["a", "b", "c", "d"]))).unwrap().len(), 4);
}

#[test]
fn a_long_request_does_not_shut_out_others() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let long = submit(&scheduler, request(&["a"; 6]));
    let other = submit(&scheduler, other("x"));
    drop(slow);
    assert_eq!(results(long).unwrap().len(), 6);
    assert_eq!(results(other).unwrap(), ["X"]);
    assert_eq!(log.taken()[2], "x");
}

#[test]
fn documents_to_be_read_by_parts_take_their_turn() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let mut by_parts = request(&[]);
    let parameters =
        DocumentParameters { long: Some(LongOptions::default()), ..DocumentParameters::default() };
    let mut group = Group::new(parameters, DEMAND);
    group.documents.push(Document { number: 0, text: "long".to_owned().into() });
    by_parts.groups = vec![group];
    let first = submit(&scheduler, request(&["a"]));
    let by_parts = submit(&scheduler, by_parts);
    let last = submit(&scheduler, request(&["b"]));
    drop(slow);
    assert_eq!(results(first).unwrap(), ["A"]);
    assert_eq!(results(by_parts).unwrap(), ["LONG"]);
    assert_eq!(results(last).unwrap(), ["B"]);
    assert_eq!(log.taken()[1..], ["a", "long", "b"]);
}

#[test]
fn rows_are_bounded_and_a_large_request_leaves_room_for_others() {
    let settings = SchedulingSettings { queue_rows: 8.try_into().unwrap(), ..Default::default() };
    let (scheduler, log) = start(settings);
    let slow = occupy(&scheduler, &log);
    let too_large = scheduler.submit(request(&["a"; 9])).unwrap_err();
    assert_eq!(too_large, ApiError::TooManyRows { rows: 9, max: 8 });
    let large = submit(&scheduler, request(&["a"; 8]));
    let second = submit(&scheduler, request(&["b"; 8]));
    let third = scheduler.submit(request(&["c"; 8])).unwrap_err();
    assert!(matches!(third, ApiError::Overloaded { waiting: 2, .. }), "{third}");
    let small: Vec<_> = (0..4).map(|_| submit(&scheduler, request(&["d"]))).collect();
    assert!(scheduler.submit(request(&["e"])).is_err());
    drop(slow);
    for events in small {
        assert_eq!(results(events).unwrap(), ["D"]);
    }
    assert_eq!(results(large).unwrap().len() + results(second).unwrap().len(), 16);
}

#[test]
fn many_parameters_in_one_request_do_not_shut_out_others() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let mut many = request(&[]);
    many.groups = (0..50)
        .map(|number| {
            let seed = Some(number);
            let mut group = Group::new(GenerationParameters { seed, ..Default::default() }, DEMAND);
            let text = "m".to_owned().into();
            group.documents.push(Document { number: number as usize, text });
            group
        })
        .collect();
    let many = submit(&scheduler, many);
    let small = submit(&scheduler, request(&["a"]));
    drop(slow);
    assert_eq!(results(small).unwrap(), ["A"]);
    assert_eq!(results(many).unwrap().len(), 50);
    let place = log.taken().iter().position(|text| text == "a");
    assert_eq!(place, Some(2), "after the slow one and one of the fifty");
}

#[test]
fn a_panic_costs_only_what_runs_with_it() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let events = submit(&scheduler, request(&["panic"]));
    assert_eq!(results(events), Err(ApiError::WorkerFailed));
    until(|| scheduler.health() == Health::Ready && log.opened.load(Ordering::SeqCst) == 2);
    assert_eq!(results(submit(&scheduler, request(&["a"]))).unwrap(), ["A"]);
}

#[test]
fn one_documents_failure_is_not_the_others() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let good = submit(&scheduler, request(&["a"]));
    let bad = submit(&scheduler, request(&["bad"]));
    drop(slow);
    assert_eq!(results(good).unwrap(), ["A"]);
    assert!(matches!(results(bad), Err(ApiError::ModelFailed(_))));
    let broken = results(submit(&scheduler, request(&["broken"])));
    assert!(matches!(broken, Err(ApiError::ModelFailed(_))));
    assert_eq!(results(submit(&scheduler, request(&["b"]))).unwrap(), ["B"]);
}

#[test]
fn a_document_is_dropped_when_its_client_disconnects() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let waiting = submit(&scheduler, request(&["a"]));
    drop(waiting);
    drop(slow);
    let steps = log.steps.load(Ordering::SeqCst);
    assert_eq!(results(submit(&scheduler, request(&["b"]))).unwrap(), ["B"]);
    // The step that ran when the client hung up, and the step that was just starting.
    assert!(log.steps.load(Ordering::SeqCst) <= steps + 2);
    assert_eq!(log.taken().len(), 2, "nobody waited for \"a\"");
}

#[test]
fn a_deadline_ends_the_work() {
    let (scheduler, _log) = start(SchedulingSettings::default());
    let mut slow = request(&["slow"]);
    slow.deadline = Instant::now() + Duration::from_millis(30);
    assert!(matches!(results(submit(&scheduler, slow)), Err(ApiError::Deadline(_))));
}

#[test]
fn a_full_queue_refuses_at_once_and_makes_room_for_those_who_hung_up() {
    let settings = SchedulingSettings { queue: 2, ..Default::default() };
    let (scheduler, log) = start(settings);
    let slow = occupy(&scheduler, &log);
    let first = submit(&scheduler, request(&["a"]));
    let second = submit(&scheduler, request(&["b"]));
    let started = Instant::now();
    let refused = scheduler.submit(request(&["c"])).unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(50));
    assert!(matches!(refused, ApiError::Overloaded { waiting: 2, .. }), "{refused}");
    drop(first);
    let third = submit(&scheduler, request(&["c"]));
    drop(slow);
    assert_eq!(results(second).unwrap(), ["B"]);
    assert_eq!(results(third).unwrap(), ["C"]);
}

#[test]
fn what_was_taken_is_finished_after_the_close() {
    let (scheduler, log) = start(SchedulingSettings::default());
    let slow = occupy(&scheduler, &log);
    let waiting = submit(&scheduler, request(&["a"]));
    scheduler.close();
    assert!(scheduler.submit(request(&["b"])).is_err());
    drop(slow);
    assert_eq!(results(waiting).unwrap(), ["A"]);
    scheduler.join();
}

#[test]
fn a_model_that_does_not_open_is_told_and_tried_again() {
    let log = Arc::new(Log::default());
    let engine_log = log.clone();
    let open: Arc<OpenEngine> =
        Arc::new(move || match engine_log.opened.fetch_add(1, Ordering::SeqCst) {
            0 => Err("the weights are cut".into()),
            _ => Ok(Box::new(Fake(engine_log.clone())) as Box<dyn Engine>),
        });
    let scheduler = Scheduler::start(
        &SchedulingSettings::default(),
        NonZeroUsize::MIN,
        Arc::new(Metrics::new()),
        Arc::default(),
        open,
    )
    .unwrap();
    until(|| scheduler.health() != Health::Starting);
    assert_eq!(scheduler.health(), Health::Failed("the weights are cut".into()));
    assert!(matches!(scheduler.submit(request(&["a"])), Err(ApiError::NotReady(_))));
    until(|| scheduler.health() == Health::Ready);
}

#[test]
fn streamed_tokens_come_before_the_summary() {
    let (scheduler, _log) = start(SchedulingSettings::default());
    let mut streamed = request(&["a"]);
    streamed.stream = true;
    let mut events = submit(&scheduler, streamed);
    assert!(matches!(events.blocking_recv(), Some(Event::Token(Token { id: 7, .. }))));
    assert!(matches!(events.blocking_recv(), Some(Event::Finished { .. })));
    assert!(events.blocking_recv().is_none());
}
