//! Sharing work among threads.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Range;

/// Multiplications below which a second thread costs more than it saves.
const MIN_MULTIPLICATIONS: usize = 1 << 16;

/// The threads that a kernel shares its work among.
pub trait ThreadPool {
    /// Why the work could not be done.
    type Error;

    /// Calls `task` with each number below `count`, on any threads and in any order, and returns
    /// when all calls have returned.
    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> Result<(), Self::Error>;
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleThread;

impl ThreadPool for SingleThread {
    type Error = Infallible;

    fn run(&self, count: usize, task: impl Fn(usize) + Sync + Send) -> Result<(), Infallible> {
        (0..count).for_each(task);
        Ok(())
    }
}

/// Runs `work` for parts of `0..count`, each at most `part` long, on the pool's threads; for all of
/// it at once on this thread where the work as a whole is small.
pub(crate) fn share<P: ThreadPool>(
    pool: &P,
    count: usize,
    part: usize,
    multiplications: usize,
    work: impl Fn(Range<usize>) + Sync + Send,
) -> Result<(), P::Error> {
    if count <= part || multiplications < MIN_MULTIPLICATIONS {
        work(0..count);
        return Ok(());
    }
    pool.run(count.div_ceil(part), |index| {
        work(index * part..((index + 1) * part).min(count));
    })
}

/// A slice whose disjoint parts are written by several threads.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out parts of a slice that may be sent to other threads, and whoever takes them
// promises that they are disjoint.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// The whole slice.
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
    #[allow(clippy::mut_from_ref, reason = "what the type is for")]
    #[inline]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice, as just checked, and in no other use, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Columns of a matrix whose other columns other threads write, one row at a time.
pub struct Columns<'a, T> {
    matrix: &'a Disjoint<'a, T>,
    first: usize,
    count: usize,
    stride: usize,
}

impl<'a, T> Columns<'a, T> {
    /// `count` columns of rows of `stride`; those of the first row start at `first`.
    ///
    /// # Safety
    ///
    /// No other part of the matrix that overlaps them is in use as long as they are.
    pub(crate) unsafe fn new(
        matrix: &'a Disjoint<'a, T>,
        first: usize,
        count: usize,
        stride: usize,
    ) -> Self {
        Self { matrix, first, count, stride }
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        self.count
    }

    /// The columns of a row.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        let start = self.first + row * self.stride;
        // SAFETY: within the columns, which nothing else uses, and one row is lent at a time.
        unsafe { self.matrix.part(start..start + self.count) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A thread for each task.
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
