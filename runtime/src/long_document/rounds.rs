//! Rounds of summarizing parts, until the joined summary is short enough.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::join::Joined;
use super::reading::{self, Plan};
use super::{Length, LongDocument, LongOptions, Read, Reading};
use crate::error::{Error, Result};
use crate::generation::{GenerationParameters, StopReason};
use crate::progress::{Progress, Total};
use crate::summarizer::{Collector, Summarizer};
use crate::summary::{Sequence, Summary, Timing};

/// Maximum number of rounds. A summary that is too long then loses its least central sentences.
const MAX_ROUNDS: usize = 6;
/// A joined summary that exceeds its budget by this factor is summarized again. A shorter one loses
/// its least central sentences, which scored better in measurements.
const MAX_EXCESS: f64 = 3.0;
/// Another round is made only if the last one left less than this share of the words.
const MAX_REMAINING: f64 = 0.9;

impl Summarizer {
    /// Summarizes a document of any length.
    ///
    /// `options` say how to read a document that is longer than the model's window. Summaries of
    /// several parts are joined: each of [`Summary::sequences`] then has the joined text, the token
    /// ids of all parts one after another, and no score.
    pub fn summarize_long(
        &mut self,
        document: &LongDocument<'_>,
        options: &LongOptions,
        parameters: &GenerationParameters,
    ) -> Result<Summary> {
        let mut summary = None;
        let mut collector =
            Collector { progress: &mut (), summaries: std::slice::from_mut(&mut summary) };
        let documents = std::slice::from_ref(document);
        self.summarize_long_each(documents, options, parameters, &mut collector)?;
        summary.ok_or_else(|| Error::Generate("the document has no summary".into()))
    }

    /// Summarizes documents of any length, and hands each summary to `progress` as soon as it is
    /// finished. Parts of all documents are decoded together. Each summary is the same as if the
    /// document were summarized alone.
    ///
    /// `progress` receives tokens only of documents that are read at once. A round of several parts
    /// is a stage, and each part is an item of it.
    pub fn summarize_long_each(
        &mut self,
        documents: &[LongDocument<'_>],
        options: &LongOptions,
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        if let Some(index) = documents.iter().position(|doc| doc.text().trim().is_empty()) {
            return Err(Error::EmptyText { index });
        }
        // Report wrong parameters before reading a long text.
        self.configure(parameters)?;
        let mut works = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            let mut stop = || progress.document_cancelled(index);
            let plan = reading::plan(self.tokenizer(), document, options.reading, &mut stop)?;
            works.push(Work::new(index, plan, options));
        }
        while !works.is_empty() {
            let texts: Vec<_> = works.iter().flat_map(|work| work.texts.iter()).cloned().collect();
            if texts.len() > works.len() {
                progress.start("Summarizing", Total::Items(texts.len() as u64));
            }
            let mut round = Round::new(&mut works, progress);
            self.summarize_each(&texts, parameters, &mut round)?;
            let mut unfinished = Vec::new();
            for mut work in works {
                let Some(joined) = work.joined.take() else { continue };
                let min_parts = work.parts_to_make();
                let mut stop = || progress.document_cancelled(work.document);
                work.texts = reading::parts_again(self.tokenizer(), &joined, min_parts, &mut stop)?;
                work.round += 1;
                unfinished.push(work);
            }
            works = unfinished;
        }
        Ok(())
    }
}

/// A document that is being summarized.
struct Work<'a> {
    /// Index of the document in the call.
    document: usize,
    /// Texts to summarize in this round.
    texts: Vec<Cow<'a, str>>,
    read: Read,
    /// Whether the texts leave out sentences of the document.
    left_out: bool,
    /// Maximum number of words of the summary; `None` for no limit.
    budget: Option<usize>,
    round: usize,
    /// Words of the joined summary of the round before.
    words_before: usize,
    /// Average number of words in the summary of a part.
    words_of_part: usize,
    /// Sums over the rounds so far.
    totals: Totals,
    /// Text to summarize in the next round.
    joined: Option<String>,
}

/// Sums over the rounds.
#[derive(Default)]
struct Totals {
    input_tokens: usize,
    truncated: bool,
    steps: usize,
    timing: Timing,
}

impl<'a> Work<'a> {
    fn new(document: usize, plan: Plan<'a>, options: &LongOptions) -> Self {
        let several = plan.texts.len() > 1;
        let length = options.length.or(several.then_some(Length::Medium));
        Self {
            document,
            left_out: options.reading == Reading::Lexrank && plan.read.words_read < plan.read.words,
            texts: plan.texts,
            read: plan.read,
            budget: length.map(|length| length.words(plan.read.words)),
            round: 0,
            words_before: usize::MAX,
            words_of_part: 0,
            totals: Totals::default(),
            joined: None,
        }
    }

    /// Whether the model reads the document as one text.
    fn is_single(&self) -> bool {
        self.read.parts == 1
    }

    /// The number of parts whose summaries together fit the budget.
    fn parts_to_make(&self) -> usize {
        self.budget.unwrap_or(usize::MAX) / self.words_of_part.max(1)
    }

    /// Takes the summaries of a round. Returns the summary of the document if it is finished.
    fn take(&mut self, summaries: Vec<Summary>, elapsed: Duration) -> Option<Summary> {
        if self.is_single() {
            let mut summary = summaries.into_iter().next()?;
            summary.truncated |= self.left_out;
            summary.read = Some(self.read);
            if let Some(budget) = self.budget {
                summary.sequences.iter_mut().for_each(|sequence| cut(sequence, budget));
            }
            return Some(summary);
        }
        self.totals.add(&summaries, self.round == 0, elapsed);
        let stopped = summaries.iter().map(|summary| summary.stopped).next()?;
        let cancelled = summaries.iter().any(|part| part.stopped == StopReason::Cancelled);
        let joined = Joined::new(summaries.iter().map(Summary::text));
        let words = joined.words();
        self.words_of_part = words.div_ceil(summaries.len());
        let budget = self.budget.unwrap_or(usize::MAX);
        let shrinks = (words as f64) < MAX_REMAINING * self.words_before as f64;
        if !cancelled
            && words as f64 > MAX_EXCESS * budget as f64
            && shrinks
            && self.round + 1 < MAX_ROUNDS
        {
            self.words_before = words;
            self.joined = Some(joined.text());
            return None;
        }
        let ranks = summaries.iter().map(|part| part.sequences.len()).min().unwrap_or(0);
        let sequences = (0..ranks).map(|rank| joined_sequence(&summaries, rank, budget)).collect();
        Some(Summary {
            sequences,
            input_tokens: self.totals.input_tokens,
            truncated: self.totals.truncated,
            steps: self.totals.steps,
            stopped: if cancelled { StopReason::Cancelled } else { stopped },
            timing: self.totals.timing,
            read: Some(self.read),
        })
    }
}

/// Joins the sequences of this rank of all parts.
fn joined_sequence(summaries: &[Summary], rank: usize, budget: usize) -> Sequence {
    let parts = || summaries.iter().map(|part| &part.sequences[rank]);
    let mut joined = Joined::new(parts().map(|sequence| sequence.text.as_str()));
    if joined.words() > budget {
        joined.keep_central(budget);
    }
    Sequence {
        text: joined.text(),
        token_ids: parts().flat_map(|sequence| sequence.token_ids.iter().copied()).collect(),
        score: None,
        token_scores: None,
    }
}

/// Keeps the first sentences of a summary that fit; at least one.
fn cut(sequence: &mut Sequence, max_words: usize) {
    if super::words::count(&sequence.text) > max_words {
        let mut sentences = Joined::new([sequence.text.as_str()].into_iter());
        sentences.keep_first(max_words);
        sequence.text = sentences.text();
    }
}

impl Totals {
    fn add(&mut self, summaries: &[Summary], is_first: bool, elapsed: Duration) {
        let tokenize: Duration = summaries.iter().map(|part| part.timing.tokenize).sum();
        let encode: Duration = summaries.iter().map(|part| part.timing.encode).sum();
        self.timing.tokenize += tokenize;
        self.timing.encode += encode;
        self.timing.decode += elapsed.saturating_sub(tokenize + encode);
        self.steps += summaries.iter().map(|part| part.steps).sum::<usize>();
        if is_first {
            self.input_tokens = summaries.iter().map(|part| part.input_tokens).sum();
            self.truncated = summaries.iter().any(|part| part.truncated);
        }
    }
}

/// Collects the summaries of a round, and finishes documents.
struct Round<'a, 'b> {
    works: &'a mut [Work<'b>],
    progress: &'a mut dyn Progress,
    /// For each text: index of its document in `works`, and index of the part in the document.
    owners: Vec<(usize, usize)>,
    summaries: Vec<Vec<Option<Summary>>>,
    started: Instant,
    has_stage: bool,
}

impl<'a, 'b> Round<'a, 'b> {
    fn new(works: &'a mut [Work<'b>], progress: &'a mut dyn Progress) -> Self {
        let owners = |(work, texts): (usize, usize)| (0..texts).map(move |text| (work, text));
        let counts: Vec<usize> = works.iter().map(|work| work.texts.len()).collect();
        let owners: Vec<_> = counts.iter().copied().enumerate().flat_map(owners).collect();
        Self {
            has_stage: owners.len() > works.len(),
            works,
            progress,
            owners,
            summaries: counts.into_iter().map(|count| vec![None; count]).collect(),
            started: Instant::now(),
        }
    }

    fn document(&self, text: usize) -> usize {
        self.works[self.owners[text].0].document
    }
}

impl Progress for Round<'_, '_> {
    fn document_cancelled(&mut self, text: usize) -> bool {
        self.progress.document_cancelled(self.document(text))
    }

    fn token(&mut self, text: usize, sequence: usize, token: u32) {
        if self.works[self.owners[text].0].is_single() {
            self.progress.token(self.document(text), sequence, token);
        }
    }

    fn summarized(&mut self, text: usize, summary: Summary) {
        let (work, part) = self.owners[text];
        let summaries = &mut self.summaries[work];
        summaries[part] = Some(summary);
        if self.has_stage {
            self.progress.advance(1);
        }
        if summaries.iter().any(Option::is_none) {
            return;
        }
        let summaries = std::mem::take(summaries).into_iter().flatten().collect();
        let work = &mut self.works[work];
        if let Some(summary) = work.take(summaries, self.started.elapsed()) {
            self.progress.summarized(work.document, summary);
        }
    }
}
