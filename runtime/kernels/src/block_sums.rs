//! Sums of the rows that belong together.

use crate::parallel::{Columns, Disjoint, ThreadPool, share};

/// Columns that one thread sums at a time.
const COLUMNS: usize = 64;

/// Rows of some documents, and the block that each belongs to.
#[derive(Clone, Copy, Debug)]
pub struct BlockSums<'a> {
    /// `[batch * source, size]`
    pub x: &'a [f32],
    /// `[batch, source]`: a number below `count`, or any other for a row of no block.
    pub blocks: &'a [i32],
    /// Documents.
    pub batch: usize,
    /// Blocks of a document.
    pub count: usize,
    /// Columns of a row.
    pub size: usize,
}

impl BlockSums<'_> {
    /// Writes the sum of each block's rows, in their order, to `sums`, `[batch * count, size]`;
    /// zeros for a block without rows.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than the sizes say.
    pub fn sum<P: ThreadPool>(&self, pool: &P, sums: &mut [f32]) -> Result<(), P::Error> {
        let &Self { x, blocks, batch, count, size } = self;
        sums.fill(0.0);
        if sums.is_empty() {
            return Ok(());
        }
        let source = blocks.len() / batch;
        let parts = size.div_ceil(COLUMNS);
        let sums = Disjoint::new(sums);
        share(pool, batch * parts, 1, x.len(), |range| {
            for part in range {
                let (document, first) = (part / parts, part % parts * COLUMNS);
                let columns = COLUMNS.min(size - first);
                let start = document * count * size + first;
                // SAFETY: these columns of the document's sums are this part's alone.
                let mut sums = unsafe { Columns::new(&sums, start, columns, size) };
                for (token, &block) in blocks[document * source..][..source].iter().enumerate() {
                    let Some(block) = usize::try_from(block).ok().filter(|&block| block < count)
                    else {
                        continue;
                    };
                    let x = &x[(document * source + token) * size + first..][..columns];
                    for (sum, x) in sums.row(block).iter_mut().zip(x) {
                        *sum += x;
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::SingleThread;

    #[test]
    fn rows_of_a_block_are_added_and_others_left_out() {
        let size = COLUMNS + 3;
        let x: Vec<f32> = (0..10 * size).map(|index| (index / size) as f32).collect();
        let blocks = [0, 0, 1, -1, 2, 1, 1, 0, 0, -1];
        let sums = BlockSums { x: &x, blocks: &blocks, batch: 2, count: 2, size };
        let mut result = vec![f32::NAN; 4 * size];
        assert!(sums.sum(&SingleThread, &mut result).is_ok());
        let expected: Vec<f32> =
            [1.0, 2.0, 15.0, 11.0].iter().flat_map(|&x| vec![x; size]).collect();
        assert_eq!(result, expected);
    }
}
