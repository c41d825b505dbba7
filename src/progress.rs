//! Progress on standard error: a bar in a terminal, a line a stage elsewhere.

use std::io::{IsTerminal, stderr};

use epitome_evaluation::sweep::Watch;
use epitome_runtime::progress::{Progress, Total};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt;

/// Fewer items than this are done before a bar would be read.
const FEW: usize = 4;

/// Shows the stages of work.
pub(crate) struct StageBar {
    bar: ProgressBar,
}

/// Does work with a bar. Ctrl-C asks the work to stop, and the bar goes when the work ends.
pub(crate) fn with_bar<T>(work: impl FnOnce(&StageBar) -> T) -> T {
    let progress = StageBar {
        bar: ProgressBar::new(0),
    };
    let result = interrupt::during(|| work(&progress));
    progress.bar.finish_and_clear();
    result
}

impl Progress for StageBar {
    fn start(&self, what: &str, total: Total) {
        if !stderr().is_terminal() {
            eprintln!("{what} ...");
            return;
        }
        let (length, template) = match total {
            Total::Unknown | Total::Bytes(0) => (0, "{msg} {spinner} {elapsed}"),
            Total::Bytes(bytes) => (
                bytes,
                "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ),
            Total::Items(items) => (
                items,
                "{msg} {bar:30} {human_pos}/{human_len} {per_sec} {eta}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("a sound template");
        self.bar.set_style(style);
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// A bar over documents, for more than a few.
pub(crate) fn documents(count: usize) -> ProgressBar {
    if count < FEW {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("Summarizing {bar:30} {pos}/{len} {eta}");
    ProgressBar::new(count as u64).with_style(style.expect("a sound template"))
}

/// Shows how many documents were measured; Ctrl-C asks to stop.
pub(crate) struct SummaryBar(ProgressBar);

impl SummaryBar {
    /// A bar that does not yet know how many there are.
    pub(crate) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Watch for SummaryBar {
    fn start(&mut self, summaries: usize) {
        self.0 = documents(summaries);
    }

    fn measured(&mut self) {
        self.0.inc(1);
    }

    fn stopped(&self) -> bool {
        interrupt::requested()
    }
}
