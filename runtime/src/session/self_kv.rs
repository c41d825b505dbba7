//! Keys and values of the decoder's self-attention: one cache for the tokens of all documents.
//!
//! A token keeps its slot in the cache. Each row has a list of the slots of its tokens. Beams with
//! common tokens share their slots. A slot that no row uses any more is free.

use super::tensors::{FloatTensor, allocate, copy_prefixes};
use crate::bundle::ModelShape;
use crate::error::Result;
use crate::generation::{Feed, Rows};

/// Initial number of slots. The cache grows as needed. Slots that were never written take no
/// physical memory.
const INITIAL_SLOTS: usize = 1024;

/// The cache of every layer, and its free slots.
pub(super) struct SelfKvCache {
    pub(super) layers: Vec<LayerKv>,
    heads: usize,
    head_size: usize,
    slots: usize,
    /// Slots below this were used before.
    high_water: usize,
    /// Free slots below [`high_water`](Self::high_water).
    free: Vec<i32>,
    /// For each slot below [`high_water`](Self::high_water), the last mark that it got.
    marks: Vec<u32>,
    /// The current mark of [`free_unused`](Self::free_unused).
    mark: u32,
}

/// The cache of one layer: float32 `[heads, slots, head_size]` each.
pub(super) struct LayerKv {
    pub(super) key: FloatTensor,
    pub(super) value: FloatTensor,
}

/// The slots of the tokens of each row of a document.
pub(super) struct CacheIndirection {
    rows: Vec<Vec<i32>>,
    /// Buffers for the rows of the next step.
    next: Vec<Vec<i32>>,
}

impl CacheIndirection {
    /// `rows` rows without tokens.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows: vec![Vec::new(); rows], next: vec![Vec::new(); rows] }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of tokens of each row.
    pub(super) fn length(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Slots of the tokens of row `index` of a step. The new token's slot is the last.
    pub(super) fn slots_of(&self, feed: &Feed<'_>, index: usize) -> &[i32] {
        match feed.rows {
            Rows::Beams(_) => &self.rows[index],
            Rows::Successive => &self.rows[0][..=feed.past + index],
        }
    }
}

impl SelfKvCache {
    /// Empty cache.
    pub(super) fn new(shape: &ModelShape) -> Result<Self> {
        let dims = [shape.heads, INITIAL_SLOTS, shape.head_size];
        let layer = |_| Ok(LayerKv { key: allocate(&dims)?, value: allocate(&dims)? });
        Ok(Self {
            layers: (0..shape.decoder_layers).map(layer).collect::<Result<_>>()?,
            heads: shape.heads,
            head_size: shape.head_size,
            slots: INITIAL_SLOTS,
            high_water: 0,
            free: Vec::new(),
            marks: Vec::new(),
            mark: 0,
        })
    }

    /// Ensures free slots for `tokens` new tokens. Returns whether the tensors were replaced.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<bool> {
        let needed = self.high_water + tokens.saturating_sub(self.free.len());
        if needed <= self.slots {
            return Ok(false);
        }
        let slots = needed.max(2 * self.slots);
        for layer in &mut self.layers {
            for tensor in [&mut layer.key, &mut layer.value] {
                let mut larger = allocate(&[self.heads, slots, self.head_size])?;
                let used = self.high_water * self.head_size;
                copy_prefixes(tensor, &mut larger, self.heads, used);
                *tensor = larger;
            }
        }
        self.slots = slots;
        Ok(true)
    }

    /// Assigns slots to the new tokens of a document, and appends these to the rows.
    /// [`reserve`](Self::reserve) must come first.
    pub(super) fn extend(&mut self, indirection: &mut CacheIndirection, feed: &Feed<'_>) {
        match feed.rows {
            Rows::Successive => {
                assert_eq!(indirection.rows.len(), 1, "successive tokens are of one row");
                // Tokens of a rejected draft.
                let rejected = indirection.rows[0].drain(feed.past..);
                self.free.extend(rejected);
                for _ in feed.tokens {
                    indirection.rows[0].push(self.allocate_slot());
                }
            }
            Rows::Beams(parents) => {
                let rows = indirection.rows.len();
                assert_eq!((parents.len(), feed.tokens.len()), (rows, rows), "one of each row");
                let in_place = parents.iter().enumerate().all(|(row, &parent)| {
                    row == parent as usize && indirection.rows[row].len() == feed.past
                });
                if !in_place {
                    for (next, &parent) in indirection.next.iter_mut().zip(parents) {
                        next.clear();
                        next.extend_from_slice(&indirection.rows[parent as usize][..feed.past]);
                    }
                    self.free_unused(&indirection.rows, &indirection.next);
                    std::mem::swap(&mut indirection.rows, &mut indirection.next);
                }
                for slots in &mut indirection.rows {
                    slots.push(self.allocate_slot());
                }
            }
        }
    }

    /// Frees the slots of a document.
    pub(super) fn release(&mut self, indirection: &CacheIndirection) {
        self.free_unused(&indirection.rows, &[]);
    }

    fn allocate_slot(&mut self) -> i32 {
        self.free.pop().unwrap_or_else(|| {
            self.marks.push(self.mark);
            self.high_water += 1;
            self.high_water as i32 - 1
        })
    }

    /// Frees the slots that are in `before` and not in `now`.
    fn free_unused(&mut self, before: &[Vec<i32>], now: &[Vec<i32>]) {
        self.mark = self.mark.wrapping_add(1);
        for &slot in now.iter().flatten() {
            self.marks[slot as usize] = self.mark;
        }
        for &slot in before.iter().flatten() {
            // The mark prevents that a shared slot is freed twice.
            if std::mem::replace(&mut self.marks[slot as usize], self.mark) != self.mark {
                self.free.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> SelfKvCache {
        crate::library::OnnxRuntime::load().unwrap();
        SelfKvCache::new(&ModelShape {
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

    /// Feeds one token to each row.
    fn feed(
        cache: &mut SelfKvCache,
        indirection: &mut CacheIndirection,
        past: usize,
        parents: &[u32],
    ) {
        let tokens = vec![5; parents.len()];
        let feed = Feed { document: 0, past, tokens: &tokens, rows: Rows::Beams(parents) };
        cache.reserve(tokens.len()).unwrap();
        cache.extend(indirection, &feed);
    }

    #[test]
    fn beams_share_slots_and_free_the_rest() {
        let mut cache = cache();
        let mut indirection = CacheIndirection::new(3);
        feed(&mut cache, &mut indirection, 0, &[0, 1, 2]);
        assert_eq!(indirection.rows, [[0], [1], [2]]);
        feed(&mut cache, &mut indirection, 1, &[0, 0, 2]);
        assert_eq!(cache.high_water, 5);
        assert_eq!(indirection.rows, [[0, 1], [0, 3], [2, 4]]);
        feed(&mut cache, &mut indirection, 2, &[1, 1, 1]);
        assert_eq!(cache.high_water, 5);
        assert!(indirection.rows.iter().all(|row| row[..2] == [0, 3]));
        cache.release(&indirection);
        cache.free.sort_unstable();
        assert_eq!(cache.free, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn slots_of_rejected_drafts_are_freed() {
        let mut cache = cache();
        let mut indirection = CacheIndirection::new(1);
        let draft = |past, tokens| Feed { document: 0, past, tokens, rows: Rows::Successive };
        cache.extend(&mut indirection, &draft(0, &[5, 6, 7]));
        let second = draft(1, &[8, 9]);
        cache.extend(&mut indirection, &second);
        assert_eq!((indirection.rows[0].len(), cache.high_water), (3, 3));
        assert_eq!(indirection.slots_of(&second, 0), &indirection.rows[0][..2]);
        assert_eq!(indirection.slots_of(&second, 1), &indirection.rows[0][..]);
    }

    #[test]
    fn a_full_cache_grows_and_keeps_its_contents() {
        let mut cache = cache();
        let mut indirection = CacheIndirection::new(1);
        for past in 0..INITIAL_SLOTS {
            feed(&mut cache, &mut indirection, past, &[0]);
        }
        let (_, keys) = cache.layers[0].key.extract_tensor_mut();
        keys.iter_mut().enumerate().for_each(|(index, key)| *key = index as f32);
        assert!(cache.reserve(1).unwrap());
        let (_, keys) = cache.layers[0].key.extract_tensor();
        assert_eq!(keys.len(), 2 * 2 * INITIAL_SLOTS * 3);
        assert_eq!(keys[2 * INITIAL_SLOTS * 3], INITIAL_SLOTS as f32 * 3.0);
    }
}
