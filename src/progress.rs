//! Progress on standard error: a bar in a terminal, one line per stage elsewhere.

use std::io::{IsTerminal, stderr};

use epitome_runtime::Summary;
use epitome_runtime::progress::{Progress, Total};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt;

/// Smallest number of items with a bar. Fewer are done before anybody reads it.
const MIN_WITH_BAR: u64 = 4;

/// Shows the stages of an export.
pub(crate) struct StageBar {
    bar: ProgressBar,
}

/// Runs work with a bar. Ctrl-C asks the work to stop, and the bar is removed when the work ends.
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

/// Shows the number of finished documents, if there are more than a few.
pub(crate) struct SummaryBar {
    bar: ProgressBar,
}

impl SummaryBar {
    /// Creates a bar without a known number of documents.
    pub(crate) fn new() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Removes the bar from the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for SummaryBar {
    fn start(&self, what: &str, total: Total) {
        let Total::Items(items) = total else { return };
        if items < MIN_WITH_BAR {
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

/// Shows the number of finished documents and the remaining time. For a single document, shows the
/// number of finished parts.
pub(crate) struct DocumentBar {
    bar: ProgressBar,
    documents: u64,
}

impl DocumentBar {
    /// Creates a bar for this number of documents.
    pub(crate) fn new(documents: u64) -> Self {
        let bar = ProgressBar::hidden();
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}");
        bar.set_style(style.expect("a sound template"));
        let shown = Self { bar, documents };
        if documents >= MIN_WITH_BAR {
            shown.show("Summarizing", documents);
        }
        shown
    }

    fn show(&self, what: &'static str, length: u64) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.set_length(length);
        self.bar.set_message(what);
    }

    /// Announces the number of parts of a document.
    pub(crate) fn begin_parts(&self, parts: u64) {
        if self.documents == 1 && parts >= MIN_WITH_BAR {
            self.bar.reset();
            self.show("Summarizing parts", parts);
        }
    }

    /// Counts more finished parts.
    pub(crate) fn advance_parts(&self, parts: u64) {
        if self.documents == 1 {
            self.bar.inc(parts);
        }
    }

    /// Counts a finished document.
    pub(crate) fn finish_one(&self) {
        if self.documents > 1 {
            self.bar.inc(1);
        }
    }

    /// Removes the bar while `write` writes other output.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar from the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
