//! Follows documents while they are summarized, and writes each summary as soon as it is complete.

use anyhow::Result;
use epitome_runtime::Summary;
use epitome_runtime::generation::StopReason;
use epitome_runtime::progress::{Progress, Total};
use epitome_runtime::tokenizer::Detokenizer;

use super::render::Finished;
use super::sink::Sink;
use crate::failure;
use crate::inputs::{Document, Input};
use crate::interrupt;
use crate::progress::DocumentBar;

/// A document whose summaries are not complete.
pub(super) struct Waiting {
    pub(super) document: Document,
    /// The number of its file.
    pub(super) input: usize,
    /// Whether it is the last of its file.
    pub(super) is_last: bool,
}

/// Counts the outcomes of files.
pub(super) struct Tally<'a> {
    pub(super) inputs: &'a [Input],
    /// For each file, whether the summary of one of its documents is missing.
    has_failed: Vec<bool>,
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Files with a newer summary.
    pub(super) skipped: usize,
    /// Files that are no documents.
    pub(super) left_out: usize,
}

impl<'a> Tally<'a> {
    pub(super) fn new(inputs: &'a [Input]) -> Self {
        let has_failed = vec![false; inputs.len()];
        Self { inputs, has_failed, done: 0, failed: 0, skipped: 0, left_out: 0 }
    }

    /// Tells why a file has no summary.
    pub(super) fn fail(&mut self, input: usize, error: &anyhow::Error, bar: &DocumentBar) {
        self.has_failed[input] = true;
        bar.suspend(|| failure::tell(error));
    }

    /// Ends a file. Returns whether all its documents have summaries.
    pub(super) fn end(&mut self, input: usize, bar: &DocumentBar) -> bool {
        bar.finish_one();
        match self.has_failed[input] {
            true => self.failed += 1,
            false => self.done += 1,
        }
        !self.has_failed[input]
    }
}

/// Receives the summaries of some documents, and writes them in the order of the documents.
pub(super) struct Following<'a, 'b> {
    tally: &'a mut Tally<'b>,
    sink: &'a mut Sink,
    bar: &'a DocumentBar,
    documents: &'a [Waiting],
    penalties: &'a [Option<f64>],
    /// For each document, one summary per length penalty.
    summaries: Vec<Vec<Option<Summary>>>,
    /// Index of the current length penalty.
    variant: usize,
    /// Index of the first document of the current call, which numbers its documents from 0.
    offset: usize,
    /// Number of documents that are written.
    written: usize,
    /// Documents that failed.
    without: Vec<usize>,
    stream: Option<Stream>,
    failure: Option<anyhow::Error>,
}

/// The streamed text of a document that is not finished.
pub(super) struct Stream {
    detokenizer: Detokenizer,
    shown: String,
}

impl Stream {
    pub(super) fn new(detokenizer: Detokenizer) -> Self {
        Self { detokenizer, shown: String::new() }
    }
}

impl<'a, 'b> Following<'a, 'b> {
    pub(super) fn new(
        tally: &'a mut Tally<'b>,
        sink: &'a mut Sink,
        bar: &'a DocumentBar,
        documents: &'a [Waiting],
        penalties: &'a [Option<f64>],
        stream: Option<Stream>,
    ) -> Self {
        Self {
            tally,
            sink,
            bar,
            documents,
            penalties,
            summaries: documents.iter().map(|_| vec![None; penalties.len()]).collect(),
            variant: 0,
            offset: 0,
            written: 0,
            without: Vec::new(),
            stream,
            failure: None,
        }
    }

    /// Sets the length penalty and the first document of the next call.
    pub(super) fn turn_to(&mut self, variant: usize, offset: usize) {
        (self.variant, self.offset) = (variant, offset);
    }

    /// Whether a document has its summary at the current length penalty, or has failed before.
    pub(super) fn is_over(&self, document: usize) -> bool {
        self.summaries[document][self.variant].is_some() || self.without.contains(&document)
    }

    /// Records that a document has no summary.
    pub(super) fn fail(&mut self, document: usize, error: &anyhow::Error) {
        self.tally.fail(self.documents[document].input, error, self.bar);
        self.without.push(document);
        self.write_ready();
    }

    /// Returns the error of writing the output.
    pub(super) fn finish(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Writes the next documents in order, as far as they are complete.
    fn write_ready(&mut self) {
        while self.failure.is_none()
            && let Some(summaries) = self.summaries.get(self.written)
        {
            let is_done = |summary: &Option<Summary>| {
                summary.as_ref().is_some_and(|summary| summary.stopped != StopReason::Cancelled)
            };
            let place = self.written;
            let result = if self.without.contains(&place) {
                self.end(place)
            } else if summaries.iter().all(is_done) {
                self.write(place).and_then(|()| self.end(place))
            } else {
                return;
            };
            self.failure = result.err();
            self.written += 1;
        }
    }

    /// Ends a file after its last document.
    fn end(&mut self, place: usize) -> Result<()> {
        let Waiting { input, is_last, .. } = &self.documents[place];
        if !is_last {
            return Ok(());
        }
        let is_whole = self.tally.end(*input, self.bar);
        self.sink.end_input(&self.tally.inputs[*input], is_whole)
    }

    fn write(&mut self, place: usize) -> Result<()> {
        let document = &self.documents[place].document;
        let summaries = self.penalties.iter().copied();
        let summaries = summaries.zip(self.summaries[place].iter().flatten()).collect();
        let finished = Finished { document, summaries };
        let streamed = self.stream.as_mut().map(|stream| std::mem::take(&mut stream.shown));
        let sink = &mut *self.sink;
        self.bar.suspend(|| {
            match streamed.filter(|shown| !shown.is_empty()) {
                Some(shown) => {
                    let text = finished.summaries.first().map_or("", |(_, it)| it.text());
                    let rest = text.strip_prefix(shown.as_str()).unwrap_or_default();
                    sink.put(&format!("{rest}\n"))?;
                }
                None => {
                    sink.put_heading(document)?;
                    sink.put_body(&finished)?;
                }
            }
            say_what_was_read(&finished);
            Ok(())
        })
    }
}

/// Says on standard error how much of a document was read.
fn say_what_was_read(finished: &Finished<'_>) {
    let Some((_, summary)) = finished.summaries.first() else { return };
    let Some(read) = summary.read else { return };
    let source = match finished.document.source.as_str() {
        "-" => String::new(),
        source => format!("{source}: "),
    };
    let left_out = if summary.truncated { "; the rest was left out" } else { "" };
    eprintln!("epitome: {source}{read}{left_out}");
}

impl Progress for Following<'_, '_> {
    fn start(&self, _what: &str, total: Total) {
        if let Total::Items(parts) = total {
            self.bar.begin_parts(parts);
        }
    }

    fn advance(&self, amount: u64) {
        self.bar.advance_parts(amount);
    }

    fn cancelled(&self) -> bool {
        // Stops also where the output cannot be written.
        interrupt::requested() || self.failure.is_some()
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        let place = self.offset + document;
        let Some(stream) = &mut self.stream else { return };
        if sequence != 0 || self.failure.is_some() {
            return;
        }
        let Ok(Some(piece)) = stream.detokenizer.push(token) else { return };
        let is_first = stream.shown.is_empty();
        stream.shown.push_str(&piece);
        let (sink, document) = (&mut *self.sink, &self.documents[place].document);
        let put = || {
            if is_first {
                sink.put_heading(document)?;
            }
            sink.put(&piece)
        };
        self.failure = self.bar.suspend(put).err();
    }

    fn summarized(&mut self, document: usize, summary: Summary) {
        self.summaries[self.offset + document][self.variant] = Some(summary);
        self.write_ready();
    }
}
