//! Work shared among the threads of a session.

use std::marker::PhantomData;
use std::ops::Range;

use ort::operator::ComputeContext;

/// Multiplications below which a second thread costs more than it saves.
const WORTHWHILE: usize = 1 << 16;

/// Runs `work` for parts of `0..count`, each at most `part` long, on the session's threads; all at
/// once on this one where the work as a whole is small.
pub(crate) fn share(
    context: &ComputeContext,
    count: usize,
    part: usize,
    multiplications: usize,
    work: impl Fn(Range<usize>) + Sync + Send,
) -> ort::Result<()> {
    if count <= part || multiplications < WORTHWHILE {
        work(0..count);
        return Ok(());
    }
    let parts = count.div_ceil(part);
    // As many batches as parts: a thread that is held up elsewhere leaves its parts to the others.
    context.par_for(parts, parts, |index| {
        work(index * part..((index + 1) * part).min(count));
    })
}

/// A slice whose disjoint parts are written by several threads.
pub(crate) struct Disjoint<'a, T> {
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
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// A part of the slice.
    ///
    /// # Safety
    ///
    /// No other part that overlaps it is in use.
    #[allow(clippy::mut_from_ref, reason = "what the type is for")]
    #[inline]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice, as just checked, and in no other use, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Columns of a matrix that several threads write, one row at a time.
pub(crate) struct Columns<'a, T> {
    matrix: &'a Disjoint<'a, T>,
    first: usize,
    count: usize,
    stride: usize,
}

impl<'a, T> Columns<'a, T> {
    /// `count` columns of rows of `stride`, the first row's from `first` on.
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
        Self {
            matrix,
            first,
            count,
            stride,
        }
    }

    /// Those of a row.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        let at = self.first + row * self.stride;
        // SAFETY: within the columns, which nothing else uses, and of which one row is lent at a time.
        unsafe { self.matrix.part(at..at + self.count) }
    }
}
