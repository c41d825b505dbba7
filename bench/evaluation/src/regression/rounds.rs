//! Measures an old and a new model in interleaved processes.

use epitome_runtime::progress::{Progress, Total};
use serde_json::{Map, Value};

use super::decision::{Decision, MAX_ROUNDS, Outcome, Ratios};
use crate::data::{Dataset, Document};
use crate::error::{Error, Result};
use crate::rouge::Scorer;
use crate::settings::Setting;
use crate::sweep::{Sample, Samples};
use crate::worker::{Model, Start};

/// Longest round in seconds, unless one document takes longer.
const ROUND_SECONDS: f64 = 5.0;
/// Summaries of each document at each setting in a round. The fastest one counts, because other
/// load of the machine makes times longer and never shorter.
const PASSES: usize = 2;
/// Number of processes in a round: two of the old model, one of the new.
const PROCESSES: usize = 3;

/// Settings and documents of the measurement.
pub(super) struct Task<'a> {
    pub(super) data: &'a Dataset,
    pub(super) settings: &'a [Setting],
    /// Generation parameters of the old and the new model, besides those of the setting.
    pub(super) parameters: [Map<String, Value>; 2],
}

/// All summaries of both models, in the order of [`Task::parameters`].
pub(super) struct Summaries {
    pub(super) samples: [Samples; 2],
    pub(super) load_ms: [f64; 2],
    pub(super) memory_bytes: [Option<u64>; 2],
}

impl Task<'_> {
    fn parameters(&self, model: usize, setting: usize) -> Map<String, Value> {
        let mut fields = self.parameters[model].clone();
        fields.extend(self.settings[setting].fields());
        fields
    }

    /// Summarizes every document at every setting once with each model.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], or that a model fails.
    pub(super) fn summarize(
        &self,
        starts: [&dyn Start; 2],
        progress: &dyn Progress,
    ) -> Result<Summaries> {
        let count = 2 * self.data.documents.len() * self.settings.len();
        progress.start("Summarizing", Total::Items(count as u64));
        let mut models = [starts[0].start()?, starts[1].start()?];
        let scorer = Scorer::default();
        let mut samples = [Samples::default(), Samples::default()];
        self.warm_up(&mut models)?;
        for (turn, document) in self.data.documents.iter().enumerate() {
            for setting in 0..self.settings.len() {
                for place in 0..2 {
                    if progress.cancelled() {
                        return Err(Error::Interrupted);
                    }
                    let model = (turn + setting + place) % 2;
                    let parameters = self.parameters(model, setting);
                    let made = models[model].summarize(&document.text, &parameters)?;
                    samples[model].list.push(Sample::of(document, setting, made, &scorer));
                    progress.advance(1);
                }
            }
        }
        let load_ms = [0, 1].map(|model: usize| models[model].load_ms());
        let memory_bytes = [0, 1].map(|model: usize| models[model].memory_bytes());
        Ok(Summaries { samples, load_ms, memory_bytes })
    }

    /// The first run of a session initializes buffers, so it is not measured.
    fn warm_up(&self, models: &mut [Box<dyn Model>]) -> Result<()> {
        let Some(document) = self.data.documents.first() else { return Ok(()) };
        for (index, model) in models.iter_mut().enumerate() {
            let parameters = self.parameters(index % 2, 0);
            model.summarize(&document.text, &parameters)?;
        }
        Ok(())
    }
}

/// A figure whose growth is tested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    /// Time of a summary at the setting with this position.
    Time(usize),
    /// Peak memory of a process.
    Memory,
    /// Time to load the model. It is short and scatters, so it may stay unclear.
    Load,
}

/// The decision on each figure, and the rounds that it took.
pub(super) struct Decided {
    pub(super) figures: Vec<(Figure, Decision)>,
    pub(super) rounds: usize,
    pub(super) documents: usize,
}

/// Starts fresh processes round after round until it is clear whether the new model is slower.
///
/// A round has two processes of the old model and one of the new. They summarize the same documents
/// at the same settings and take turns. The second process of the old model shows the influence of
/// chance on this machine at this hour.
///
/// # Errors
///
/// [`Error::Interrupted`], or that a model fails.
pub(super) fn rounds(
    task: &Task<'_>,
    [old, new]: [&dyn Start; 2],
    seconds_a_document: f64,
    tolerance: f64,
    progress: &dyn Progress,
) -> Result<Decided> {
    let documents = spread(&task.data.documents, seconds_a_document);
    let times = (0..task.settings.len()).map(Figure::Time);
    let mut figures: Vec<(Figure, Ratios)> = times
        .chain([Figure::Memory, Figure::Load])
        .map(|figure| (figure, Ratios::default()))
        .collect();
    let mut decided = Decided { figures: Vec::new(), rounds: 0, documents: documents.len() };
    progress.start("Comparing times", Total::Items(MAX_ROUNDS as u64));
    while decided.rounds < MAX_ROUNDS {
        // Old, new, and old again: the position modulo 2 is the model.
        let mut models = [old.start()?, new.start()?, old.start()?];
        let times = task.round(&mut models, &documents, decided.rounds, progress)?;
        for (figure, ratios) in &mut figures {
            let of = |process: usize| match *figure {
                Figure::Time(setting) => Some(times[process][setting]),
                Figure::Memory => {
                    models[process].memory_bytes().map(|bytes| logarithm(bytes as f64))
                }
                Figure::Load => Some(logarithm(models[process].load_ms())),
            };
            if let (Some(first), Some(new), Some(second)) = (of(0), of(1), of(2)) {
                ratios.chance.push(second - first);
                ratios.change.push(new - first);
            }
        }
        // Some systems do not report the memory of a process.
        figures.retain(|(_, ratios)| !ratios.change.is_empty());
        decided.rounds += 1;
        progress.advance(1);
        let decide = |(figure, ratios): &(Figure, Ratios)| {
            (*figure, ratios.decide(tolerance, figures.len()))
        };
        decided.figures = figures.iter().map(decide).collect();
        if decided.is_settled() {
            break;
        }
    }
    Ok(decided)
}

impl Decided {
    /// Whether more rounds would change nothing.
    fn is_settled(&self) -> bool {
        let settled = |(figure, decision): &(Figure, Decision)| {
            *figure == Figure::Load || decision.outcome.is_some()
        };
        let worse = self.figures.iter().any(|one| one.1.outcome == Some(Outcome::Worse));
        worse || self.figures.iter().all(settled)
    }
}

impl Task<'_> {
    /// For each process and setting, the mean over the documents of the logarithm of the time.
    fn round(
        &self,
        models: &mut [Box<dyn Model>; PROCESSES],
        documents: &[&Document],
        round: usize,
        progress: &dyn Progress,
    ) -> Result<[Vec<f64>; PROCESSES]> {
        self.warm_up(models)?;
        let mut sums = [(); PROCESSES].map(|()| vec![0.0; self.settings.len()]);
        for (place, document) in documents.iter().enumerate() {
            for setting in 0..self.settings.len() {
                let mut fastest = [f64::INFINITY; PROCESSES];
                for pass in 0..PASSES {
                    for process in order(round + place + setting + pass) {
                        if progress.cancelled() {
                            return Err(Error::Interrupted);
                        }
                        let parameters = self.parameters(process % 2, setting);
                        let made = models[process].summarize(&document.text, &parameters)?;
                        fastest[process] = fastest[process].min(made.milliseconds.total());
                    }
                }
                for (sums, fastest) in sums.iter_mut().zip(fastest) {
                    sums[setting] += logarithm(fastest) / documents.len() as f64;
                }
            }
        }
        Ok(sums)
    }
}

/// The order of the processes in a turn. Each of the six orders occurs equally often.
fn order(turn: usize) -> [usize; PROCESSES] {
    let mut order = [0, 1, 2].map(|place| (place + turn) % PROCESSES);
    if turn / PROCESSES % 2 == 1 {
        order.reverse();
    }
    order
}

fn logarithm(value: f64) -> f64 {
    // A clock may not resolve the shortest times.
    value.max(1e-6).ln()
}

/// As many documents as a round has time for, evenly spread.
fn spread(documents: &[Document], seconds_a_document: f64) -> Vec<&Document> {
    let a_round = ROUND_SECONDS / (seconds_a_document * (PROCESSES * PASSES) as f64);
    // An infinite count, for documents that take no time, saturates.
    let count = (a_round as usize).clamp(1, documents.len().max(1));
    let place = |index: usize| index * documents.len() / count;
    (0..count).filter_map(|index| documents.get(place(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_as_often() {
        let mut orders: Vec<_> = (0..6).map(order).collect();
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), 6);
        assert_eq!(order(6), order(0));
    }

    #[test]
    fn documents_of_a_round_are_spread_over_the_data() {
        let document = |row| Document { row, text: "a".into(), summary: None };
        let documents: Vec<Document> = (1..=10).map(document).collect();
        let rows = |seconds| -> Vec<usize> {
            spread(&documents, seconds).iter().map(|document| document.row).collect()
        };
        assert_eq!(rows(0.0).len(), 10);
        assert_eq!(rows(100.0), [1]);
        assert_eq!(rows(ROUND_SECONDS / 6.0 / 5.5), [1, 3, 5, 7, 9]);
    }
}
