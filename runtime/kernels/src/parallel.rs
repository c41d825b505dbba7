//! Parallel loops, and slices that several threads write.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Range;

/// Multiplications of a loop below which a second thread costs more time than it saves.
const MIN_MULTIPLICATIONS: usize = 1 << 16;

/// Threads that run the tasks of a kernel.
pub trait ThreadPool {
    /// Error of a task that could not run.
    type Error;

    /// Calls `task` with each number below `count`, on any thread and in any order. Returns when
    /// all calls have returned.
    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> Result<(), Self::Error>;
}

/// A pool that runs all tasks on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleThread;

impl ThreadPool for SingleThread {
    type Error = Infallible;

    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> Result<(), Infallible> {
        (0..count).for_each(task);
        Ok(())
    }
}

/// Calls `work` with successive ranges of `0..count`, one in each task, each at most `per_task`
/// long. If there are few `multiplications` in total, calls it once, on this thread.
pub(crate) fn parallel_for<P: ThreadPool>(
    pool: &P,
    count: usize,
    per_task: usize,
    multiplications: usize,
    work: impl Fn(Range<usize>) + Sync + Send,
) -> Result<(), P::Error> {
    if count <= per_task || multiplications < MIN_MULTIPLICATIONS {
        work(0..count);
        return Ok(());
    }
    pool.run(count.div_ceil(per_task), |task| {
        work(task * per_task..((task + 1) * per_task).min(count));
    })
}

/// A slice of which several threads write disjoint parts.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `part` returns parts of a slice that may be sent to other threads, and its callers
// promise that the parts are disjoint.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: the slice may be sent to another thread.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Borrows a slice.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice.
    ///
    /// # Panics
    ///
    /// When the range is beyond the slice.
    ///
    /// # Safety
    ///
    /// No other part that overlaps it is in use.
    #[allow(clippy::mut_from_ref, reason = "several threads take parts of one slice")]
    #[inline]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice, as just checked, and not in other use, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Some columns of a matrix, one row at a time. Other threads may write the other columns.
pub struct Columns<'a, T> {
    matrix: &'a Disjoint<'a, T>,
    first: usize,
    count: usize,
    stride: usize,
}

impl<'a, T> Columns<'a, T> {
    /// `count` columns of a matrix with rows of length `stride`. `first` is the index of the first
    /// column of the first row.
    ///
    /// # Safety
    ///
    /// No other part of the matrix that overlaps the columns is in use at the same time.
    pub(crate) unsafe fn new(
        matrix: &'a Disjoint<'a, T>,
        first: usize,
        count: usize,
        stride: usize,
    ) -> Self {
        Self { matrix, first, count, stride }
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.count
    }

    /// The columns of a row.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        let start = self.first + row * self.stride;
        // SAFETY: no other code uses the columns, and `self` lends one row at a time.
        unsafe { self.matrix.part(start..start + self.count) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A pool with a thread for each task.
    pub(crate) struct Threads;

    impl ThreadPool for Threads {
        type Error = Infallible;

        fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> Result<(), Infallible> {
            let task = &task;
            std::thread::scope(|scope| {
                for index in 0..count {
                    scope.spawn(move || task(index));
                }
            });
            Ok(())
        }
    }
}
