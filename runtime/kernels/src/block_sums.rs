//! Sums of the rows of each block of tokens.

use crate::parallel::{Columns, Disjoint, ThreadPool, parallel_for};

/// Columns of a task.
const COLUMNS_PER_TASK: usize = 64;

/// The rows of some documents, and the block of each row.
#[derive(Clone, Copy, Debug)]
pub struct BlockSums<'a> {
    /// Input: `[batch * source, size]`.
    pub x: &'a [f32],
    /// Block of each row, a number below `count`, or another number for none: `[batch, source]`.
    pub blocks: &'a [i32],
    /// Number of documents.
    pub batch: usize,
    /// Number of blocks of a document.
    pub count: usize,
    /// Columns of a row.
    pub size: usize,
}

impl BlockSums<'_> {
    /// Adds the rows of each block in their order, and writes the sums to `sums`,
    /// `[batch * count, size]`. The sum of a block without rows is zero.
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
        let tasks = size.div_ceil(COLUMNS_PER_TASK);
        let sums = Disjoint::new(sums);
        parallel_for(pool, batch * tasks, 1, x.len(), |range| {
            for task in range {
                let (document, first) = (task / tasks, task % tasks * COLUMNS_PER_TASK);
                let columns = COLUMNS_PER_TASK.min(size - first);
                let start = document * count * size + first;
                // SAFETY: only this task writes these columns of the document's sums.
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
        let size = COLUMNS_PER_TASK + 3;
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
