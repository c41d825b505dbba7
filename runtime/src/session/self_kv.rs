//! Keys and values of the decoder's self-attention: one cache for the tokens of all documents.
//!
//! A token has a place in the cache, where it stays. A row's history is a list of places. Beams
//! that have tokens in common name the same places, and a place that no row names any more is free.

use super::tensors::{FloatTensor, allocate, copy_prefixes};
use crate::bundle::ModelShape;
use crate::error::Result;
use crate::generation::{Feed, Rows};

/// Places that the cache has at first. It grows, and memory that was never written costs nothing.
const FIRST_PLACES: usize = 1024;

/// The cache of every layer, and which places are taken.
pub(super) struct SelfKv {
    pub(super) layers: Vec<LayerKv>,
    heads: usize,
    size: usize,
    places: usize,
    /// Places below it were taken before.
    fresh: usize,
    /// Places below [`fresh`](Self::fresh) that are free.
    free: Vec<i32>,
    /// For each place the number of the last list that named it.
    marks: Vec<u32>,
    list: u32,
}

/// The cache of one layer: float32 `[heads, places, head_size]`.
pub(super) struct LayerKv {
    pub(super) key: FloatTensor,
    pub(super) value: FloatTensor,
}

/// The histories of a document's rows.
pub(super) struct Histories {
    rows: Vec<Vec<i32>>,
    /// Memory for those of the next step.
    next: Vec<Vec<i32>>,
}

impl Histories {
    /// So many rows without a token.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows: vec![Vec::new(); rows], next: vec![Vec::new(); rows] }
    }

    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Tokens of each row.
    pub(super) fn length(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// The places of row `index` of what was fed, its new token's last.
    pub(super) fn of(&self, feed: &Feed<'_>, index: usize) -> &[i32] {
        match feed.rows {
            Rows::Beams(_) => &self.rows[index],
            Rows::Successive => &self.rows[0][..=feed.past + index],
        }
    }
}

impl SelfKv {
    /// A cache without tokens.
    pub(super) fn new(shape: &ModelShape) -> Result<Self> {
        let dims = [shape.heads, FIRST_PLACES, shape.head_size];
        let layer = |_| Ok(LayerKv { key: allocate(&dims)?, value: allocate(&dims)? });
        Ok(Self {
            layers: (0..shape.decoder_layers).map(layer).collect::<Result<_>>()?,
            heads: shape.heads,
            size: shape.head_size,
            places: FIRST_PLACES,
            fresh: 0,
            free: Vec::new(),
            marks: Vec::new(),
            list: 0,
        })
    }

    /// Makes room for so many new tokens. Whether the tensors are others now.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<bool> {
        let needed = self.fresh + tokens.saturating_sub(self.free.len());
        if needed <= self.places {
            return Ok(false);
        }
        let places = needed.max(2 * self.places);
        for layer in &mut self.layers {
            for tensor in [&mut layer.key, &mut layer.value] {
                let mut larger = allocate(&[self.heads, places, self.size])?;
                copy_prefixes(tensor, &mut larger, self.heads, self.fresh * self.size);
                *tensor = larger;
            }
        }
        self.places = places;
        Ok(true)
    }

    /// Gives the new tokens of a document their places, for which there is room, behind the
    /// histories that their rows continue.
    pub(super) fn extend(&mut self, histories: &mut Histories, feed: &Feed<'_>) {
        match feed.rows {
            Rows::Successive => {
                assert_eq!(histories.rows.len(), 1, "successive tokens are of one row");
                let forgotten = histories.rows[0].drain(feed.past..);
                self.free.extend(forgotten);
                for _ in feed.tokens {
                    let place = self.take();
                    histories.rows[0].push(place);
                }
            }
            Rows::Beams(parents) => {
                let rows = histories.rows.len();
                assert_eq!((parents.len(), feed.tokens.len()), (rows, rows), "one of each row");
                let in_place = parents.iter().enumerate().all(|(row, &parent)| {
                    row == parent as usize && histories.rows[row].len() == feed.past
                });
                if !in_place {
                    for (next, &parent) in histories.next.iter_mut().zip(parents) {
                        next.clear();
                        next.extend_from_slice(&histories.rows[parent as usize][..feed.past]);
                    }
                    self.free_unnamed(&histories.rows, &histories.next);
                    std::mem::swap(&mut histories.rows, &mut histories.next);
                }
                for history in &mut histories.rows {
                    history.push(self.take());
                }
            }
        }
    }

    /// Frees the places of a document.
    pub(super) fn release(&mut self, histories: &Histories) {
        self.free_unnamed(&histories.rows, &[]);
    }

    fn take(&mut self) -> i32 {
        self.free.pop().unwrap_or_else(|| {
            self.marks.push(self.list);
            self.fresh += 1;
            self.fresh as i32 - 1
        })
    }

    /// Frees the places that histories named before and do not name now.
    fn free_unnamed(&mut self, before: &[Vec<i32>], now: &[Vec<i32>]) {
        self.list = self.list.wrapping_add(1);
        for &place in now.iter().flatten() {
            self.marks[place as usize] = self.list;
        }
        for &place in before.iter().flatten() {
            // Marked, so that it is freed once.
            if std::mem::replace(&mut self.marks[place as usize], self.list) != self.list {
                self.free.push(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> SelfKv {
        crate::library::OnnxRuntime::load().unwrap();
        SelfKv::new(&ModelShape {
            hidden_size: 6,
            encoder_layers: 1,
            decoder_layers: 1,
            heads: 2,
            head_size: 3,
            vocab_size: 9,
            source_vocab_size: None,
            max_source_positions: 9,
            max_target_positions: None,
            global_attention: false,
            source_prompt: 0,
        })
        .unwrap()
    }

    /// Feeds a token to each row.
    fn feed(cache: &mut SelfKv, histories: &mut Histories, past: usize, parents: &[u32]) {
        let tokens = vec![5; parents.len()];
        let feed = Feed { document: 0, past, tokens: &tokens, rows: Rows::Beams(parents) };
        cache.reserve(tokens.len()).unwrap();
        cache.extend(histories, &feed);
    }

    #[test]
    fn beams_share_what_they_have_in_common_and_free_the_rest() {
        let mut cache = cache();
        let mut histories = Histories::new(3);
        feed(&mut cache, &mut histories, 0, &[0, 1, 2]);
        assert_eq!(histories.rows, [[0], [1], [2]]);
        feed(&mut cache, &mut histories, 1, &[0, 0, 2]);
        assert_eq!(cache.fresh, 5);
        assert_eq!(histories.rows, [[0, 1], [0, 3], [2, 4]]);
        feed(&mut cache, &mut histories, 2, &[1, 1, 1]);
        assert_eq!(cache.fresh, 5);
        assert!(histories.rows.iter().all(|row| row[..2] == [0, 3]));
        cache.release(&histories);
        cache.free.sort_unstable();
        assert_eq!(cache.free, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn wrong_drafts_are_forgotten() {
        let mut cache = cache();
        let mut histories = Histories::new(1);
        let draft = |past, tokens| Feed { document: 0, past, tokens, rows: Rows::Successive };
        cache.extend(&mut histories, &draft(0, &[5, 6, 7]));
        let second = draft(1, &[8, 9]);
        cache.extend(&mut histories, &second);
        assert_eq!((histories.rows[0].len(), cache.fresh), (3, 3));
        assert_eq!(histories.of(&second, 0), &histories.rows[0][..2]);
        assert_eq!(histories.of(&second, 1), &histories.rows[0][..]);
    }

    #[test]
    fn a_full_cache_grows_and_keeps_what_it_has() {
        let mut cache = cache();
        let mut histories = Histories::new(1);
        for past in 0..FIRST_PLACES {
            feed(&mut cache, &mut histories, past, &[0]);
        }
        let (_, keys) = cache.layers[0].key.extract_tensor_mut();
        keys.iter_mut().enumerate().for_each(|(index, key)| *key = index as f32);
        assert!(cache.reserve(1).unwrap());
        let (_, keys) = cache.layers[0].key.extract_tensor();
        assert_eq!(keys.len(), 2 * 2 * FIRST_PLACES * 3);
        assert_eq!(keys[2 * FIRST_PLACES * 3], FIRST_PLACES as f32 * 3.0);
    }
}
