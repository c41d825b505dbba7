//! A decoder whose logits are a hash of the source, the last three tokens and the length.
//!
//! `fixtures/make_search_goldens.py` runs transformers over the same function.

use std::convert::Infallible;

use epitome_runtime::generation::{Feed, Rows, Source, StepModel};

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

/// A decoder over the table. It keeps the history of each row, as a real decoder keeps its cache,
/// and checks its input.
pub(crate) struct TableModel {
    vocab_size: usize,
    /// Documents by number; `None` for each that left.
    documents: Vec<Option<Document>>,
    logits: Vec<f32>,
    pub(crate) steps: usize,
}

struct Document {
    source: Vec<u32>,
    histories: Vec<Vec<u32>>,
}

impl TableModel {
    pub(crate) fn new(vocab_size: usize, sources: &[Vec<u32>], rows: usize) -> Self {
        let mut model = Self { vocab_size, documents: Vec::new(), logits: Vec::new(), steps: 0 };
        for source in sources {
            model.join(source, rows);
        }
        model
    }

    /// Adds a document with `rows` rows.
    fn join(&mut self, source: &[u32], rows: usize) {
        let document = Document { source: source.to_vec(), histories: vec![Vec::new(); rows] };
        self.documents.push(Some(document));
    }
}

/// The sources of a search.
pub(crate) fn as_sources(sources: &[Vec<u32>]) -> Vec<Source> {
    sources.iter().map(|source| Source::new(source)).collect()
}

impl StepModel for TableModel {
    type Error = Infallible;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32], Infallible> {
        self.logits.clear();
        let mut score = |source: &[u32], history: &[u32]| {
            let first = self.logits.len();
            self.logits.resize(first + self.vocab_size, 0.0);
            row(source, history, &mut self.logits[first..]);
        };
        for feed in feeds {
            let document = self.documents[feed.document].as_mut().expect("it has not left");
            let Document { source, histories } = document;
            match feed.rows {
                Rows::Beams(parents) => {
                    let rows = histories.len();
                    assert_eq!((feed.tokens.len(), parents.len()), (rows, rows));
                    *histories = (0..rows)
                        .map(|row| {
                            let parent = parents[row] as usize;
                            assert!(parent < rows, "a parent outside the document");
                            assert!(feed.past > 0 || parent == row, "the first step continues");
                            let mut history = histories[parent][..feed.past].to_vec();
                            history.push(feed.tokens[row]);
                            history
                        })
                        .collect();
                    histories.iter().for_each(|history| score(source, history));
                }
                Rows::Successive => {
                    assert_eq!(histories.len(), 1, "a draft of one row");
                    histories[0].truncate(feed.past);
                    for &token in feed.tokens {
                        histories[0].push(token);
                        score(source, &histories[0]);
                    }
                }
            }
        }
        self.steps += 1;
        Ok(&mut self.logits)
    }

    fn leave(&mut self, document: usize) {
        assert!(self.documents[document].take().is_some(), "it left before");
    }
}
