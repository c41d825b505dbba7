//! Progress on standard error: a bar in a terminal, a line a stage elsewhere.

use std::io::{IsTerminal, stderr};

use epitome_evaluation::sweep::Watch;
use epitome_export::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt;

/// Shows the stages of an export.
pub(crate) struct StageBar {
    bar: ProgressBar,
}

impl StageBar {
    /// A bar without a stage yet.
    pub(crate) fn new() -> Self {
        Self {
            bar: ProgressBar::new(0),
        }
    }

    fn begin(&self, what: &str, total: u64, template: &str) {
        if !stderr().is_terminal() {
            eprintln!("{what} ...");
            return;
        }
        self.bar
            .set_style(ProgressStyle::with_template(template).expect("a sound template"));
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for StageBar {
    fn start(&self, what: &str, total_bytes: u64) {
        let template = match total_bytes {
            0 => "{msg} {spinner} {elapsed}",
            _ => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        };
        self.begin(what, total_bytes, template);
    }

    fn start_counted(&self, what: &str, total: u64) {
        let template = "{msg} {bar:30} {human_pos}/{human_len} {per_sec} {eta}";
        self.begin(what, total, template);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

/// A bar over documents, for more than a few.
pub(crate) fn documents(count: usize) -> ProgressBar {
    if count < 4 {
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
