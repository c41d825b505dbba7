//! Progress on standard error: a bar in a terminal, a line a stage elsewhere.

use std::io::{IsTerminal, stderr};

use epitome_runtime::Summary;
use epitome_runtime::progress::{Progress, Total};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt;

/// Fewer items than this are done before a bar would be read.
const FEW: u64 = 4;

/// Shows the stages of work.
pub(crate) struct StageBar {
    bar: ProgressBar,
}

/// Does work with a bar. Ctrl-C asks the work to stop, and the bar goes when the work ends.
pub(crate) fn with_bar<T>(work: impl FnOnce(&StageBar) -> T) -> T {
    let progress = StageBar { bar: ProgressBar::new(0) };
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
            Total::Bytes(bytes) => {
                (bytes, "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            }
            Total::Items(items) => {
                (items, "{msg} {bar:30} {human_pos}/{human_len} {per_sec} {eta}")
            }
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

    fn note(&self, note: &str) {
        self.bar.suspend(|| eprintln!("{note}"));
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// Shows how many documents are done, where there are more than a few.
pub(crate) struct SummaryBar {
    bar: ProgressBar,
}

impl SummaryBar {
    /// A bar that does not yet know how many there are.
    pub(crate) fn new() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for SummaryBar {
    fn start(&self, what: &str, total: Total) {
        let Total::Items(items) = total else { return };
        if items < FEW {
            return;
        }
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}");
        self.bar.set_style(style.expect("a sound template"));
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.set_length(items);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    fn summarized(&mut self, _document: usize, _summary: Summary) {
        self.advance(1);
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// Shows how many documents are done and how long the others take; of a single document, how many
/// of its parts.
pub(crate) struct DocumentBar {
    bar: ProgressBar,
    documents: u64,
}

impl DocumentBar {
    /// A bar for so many documents.
    pub(crate) fn new(documents: u64) -> Self {
        let bar = ProgressBar::hidden();
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}");
        bar.set_style(style.expect("a sound template"));
        let shown = Self { bar, documents };
        if documents >= FEW {
            shown.show("Summarizing", documents);
        }
        shown
    }

    fn show(&self, what: &'static str, length: u64) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.set_length(length);
        self.bar.set_message(what);
    }

    /// A document is read in so many parts.
    pub(crate) fn begin_parts(&self, parts: u64) {
        if self.documents == 1 && parts >= FEW {
            self.bar.reset();
            self.show("Summarizing parts", parts);
        }
    }

    /// So many more parts are done.
    pub(crate) fn advance_parts(&self, parts: u64) {
        if self.documents == 1 {
            self.bar.inc(parts);
        }
    }

    /// A document is done.
    pub(crate) fn finish_one(&self) {
        if self.documents > 1 {
            self.bar.inc(1);
        }
    }

    /// Writes other things while the bar is off the screen.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
