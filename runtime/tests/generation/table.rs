//! A decoder whose logits are a hash of the source, the last three tokens and the length.
//!
//! `fixtures/make_search_goldens.py` runs transformers over the same function.

use std::convert::Infallible;

use epitome_runtime::generation::{DraftModel, Source, StepModel};

/// The hash `lowbias32`.
fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846c_a68b);
    h ^ (h >> 16)
}

/// Logits after a history.
fn row(source: &[u32], history: &[u32], logits: &mut [f32]) {
    let recent = &history[history.len().saturating_sub(3)..];
    let state = source
        .iter()
        .chain(recent)
        .fold(source.len() as u32, |state, token| mix(state ^ token.wrapping_add(0x9e37_79b9)));
    for (token, logit) in logits.iter_mut().enumerate() {
        let unit = f64::from(mix(state ^ mix(token as u32 + 1)) >> 8) / f64::from(1 << 24);
        let ends = if (1..4).contains(&token) { history.len() as f64 * 0.375 - 3.0 } else { 0.0 };
        *logit = (unit * unit * 10.0 + ends) as f32;
    }
}

/// The decoder, which keeps each row's history as a real one keeps its cache, and checks what it is
/// asked.
pub(crate) struct TableModel {
    vocab_size: usize,
    sources: Vec<Vec<u32>>,
    rows: usize,
    histories: Vec<Vec<u32>>,
    logits: Vec<f32>,
    pub(crate) steps: usize,
}

impl TableModel {
    pub(crate) fn new(vocab_size: usize, sources: &[Vec<u32>], rows: usize) -> Self {
        Self {
            vocab_size,
            sources: sources.to_vec(),
            rows,
            histories: vec![Vec::new(); sources.len() * rows],
            logits: Vec::new(),
            steps: 0,
        }
    }
}

/// What a search is told of these sources.
pub(crate) fn as_sources(sources: &[Vec<u32>]) -> Vec<Source<'_>> {
    sources.iter().map(|source| Source::new(source)).collect()
}

impl StepModel for TableModel {
    type Error = Infallible;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32], Infallible> {
        let rows = self.sources.len() * self.rows;
        assert_eq!((tokens.len(), parents.len()), (rows, rows));
        self.histories = (0..rows)
            .map(|row| {
                let parent = parents[row] as usize;
                assert!(parent < self.rows, "a parent outside the document");
                assert!(self.steps > 0 || parent == row % self.rows, "the first step continues");
                let mut history = self.histories[row / self.rows * self.rows + parent].clone();
                history.push(tokens[row]);
                history
            })
            .collect();
        self.logits.resize(rows * self.vocab_size, 0.0);
        for (number, logits) in self.logits.chunks_exact_mut(self.vocab_size).enumerate() {
            row(&self.sources[number / self.rows], &self.histories[number], logits);
        }
        self.steps += 1;
        Ok(&mut self.logits)
    }

    fn retain(&mut self, documents: &[usize]) -> Result<(), Infallible> {
        assert!(!documents.is_empty() && documents.is_sorted(), "{documents:?}");
        assert!(documents.len() < self.sources.len(), "nothing to retain");
        self.sources = documents.iter().map(|index| self.sources[*index].clone()).collect();
        self.histories = documents
            .iter()
            .flat_map(|index| self.histories[index * self.rows..][..self.rows].to_vec())
            .collect();
        Ok(())
    }

    fn as_draft_model(&mut self) -> Option<&mut dyn DraftModel<Error = Infallible>> {
        Some(self)
    }
}

impl DraftModel for TableModel {
    type Error = Infallible;

    fn read(&mut self, tokens: &[u32]) -> Result<&mut [f32], Infallible> {
        assert_eq!(self.histories.len(), 1, "a draft of one row");
        self.logits.resize(tokens.len() * self.vocab_size, 0.0);
        for (token, logits) in tokens.iter().zip(self.logits.chunks_exact_mut(self.vocab_size)) {
            self.histories[0].push(*token);
            row(&self.sources[0], &self.histories[0], logits);
        }
        self.steps += 1;
        Ok(&mut self.logits)
    }

    fn forget(&mut self, count: usize) {
        let history = &mut self.histories[0];
        history.truncate(history.len() - count);
    }
}
