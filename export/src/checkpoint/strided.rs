//! A tensor in a mapped weights file as it is stored, and its conversion to `f32`.
//!
//! All conversions use one routine that reads a block of a strided matrix: contiguous tensors,
//! their transposes and other views in a pickle differ only in their strides. Blocks are small, so
//! that large tensors stream through little memory.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Number of elements that are converted at a time in row-major order: 1 MiB of `f32`, so that a
/// piece is still in the cache when it is used.
const PIECE: usize = 1 << 18;

/// Number of elements that are converted at a time in another order: 16 MiB of `f32`, enough for
/// [`LINE`] columns of the largest vocabularies.
const BLOCK: usize = 1 << 22;

/// Elements of `f32` in a cache line. A transpose reads at least so many neighbours of every source
/// row, so that it uses every line whole.
const LINE: usize = 16;

/// Number of elements of a source row that a transpose reads at once, if there are as many.
const RUN: usize = 4 * LINE;

/// Limit of the elements of a view that repeats its storage (torch's `expand`). Without it, a file
/// of a few bytes could describe a huge tensor.
const MAX_EXPANDED: usize = 1 << 24;

/// Element types of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl DType {
    /// Size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements are floating-point numbers.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

/// Type, shape and strides of a tensor. They are checked: all products and sums for addresses of
/// elements fit a `usize`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    len: usize,
    span: usize,
}

impl Layout {
    /// A row-major tensor without gaps.
    pub(crate) fn contiguous(dtype: DType, shape: Vec<usize>) -> Result<Self, String> {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis]
                .checked_mul(shape[axis].max(1))
                .ok_or_else(|| format!("has the impossible shape {shape:?}"))?;
        }
        Self::strided(dtype, shape, strides)
    }

    /// A view with a stride in elements for each axis.
    pub(crate) fn strided(
        dtype: DType,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("has {} axes but {} strides", shape.len(), strides.len()));
        }
        let impossible = || format!("has the impossible shape {shape:?} and strides {strides:?}");
        let mut len = 1usize;
        let mut last = 0usize;
        let empty = shape.contains(&0);
        for (&size, &stride) in shape.iter().zip(&strides) {
            len = len.checked_mul(size.max(1)).ok_or_else(impossible)?;
            let reach = (size.max(1) - 1).checked_mul(stride).ok_or_else(impossible)?;
            last = last.checked_add(reach).ok_or_else(impossible)?;
        }
        let span = last.checked_add(1).ok_or_else(impossible)?;
        span.checked_mul(dtype.size()).ok_or_else(impossible)?;
        len.checked_mul(size_of::<f32>()).ok_or_else(impossible)?;
        if empty {
            return Ok(Self { dtype, shape, strides, len: 0, span: 0 });
        }
        if len > span && len > MAX_EXPANDED {
            return Err(format!("repeats {span} elements to make {len}"));
        }
        Ok(Self { dtype, shape, strides, len, span })
    }

    /// The tensor with its first two axes swapped, if there are two.
    pub(super) fn transposed(mut self) -> Self {
        if self.shape.len() > 1 {
            self.shape.swap(0, 1);
            self.strides.swap(0, 1);
        }
        self
    }

    /// The size of each axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes from the begin of the first element to the end of the last.
    pub(crate) fn span_bytes(&self) -> usize {
        self.span * self.dtype.size()
    }

    /// The type of an element.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Location of a tensor in a weights file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located {
    pub(super) layout: Layout,
    /// Byte offset of the first element. The layout's span fits behind it.
    pub(super) start: usize,
}

/// A tensor as it is stored in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct StridedView<'a> {
    layout: &'a Layout,
    /// The bytes of the layout's span.
    bytes: &'a [u8],
}

impl<'a> StridedView<'a> {
    /// A view of `bytes`, which are exactly the layout's span.
    pub(super) fn new(layout: &'a Layout, bytes: &'a [u8]) -> Self {
        assert_eq!(bytes.len(), layout.span_bytes(), "a view covers its layout's span");
        Self { layout, bytes }
    }

    /// The size of each axis; empty for a scalar.
    pub(super) fn shape(&self) -> &'a [usize] {
        &self.layout.shape
    }

    fn strides(&self) -> &'a [usize] {
        &self.layout.strides
    }

    /// The stored element type.
    pub(super) fn dtype(&self) -> DType {
        self.layout.dtype
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        self.layout.len
    }

    /// The bytes of the elements, if they lie in row-major order without gaps.
    pub(super) fn contiguous_bytes(&self) -> Option<&'a [u8]> {
        let mut expected = 1;
        let contiguous = self.len() == 0
            || self.shape().iter().zip(self.strides()).rev().all(|(&size, &stride)| {
                let fits = size == 1 || stride == expected;
                expected *= size;
                fits
            });
        contiguous.then_some(self.bytes)
    }

    /// All elements in row-major order.
    pub(super) fn to_f32(self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        let Ok(()) = self.stream(&mut |piece| {
            values.extend_from_slice(piece);
            Ok::<_, std::convert::Infallible>(())
        });
        values
    }

    /// Whether the bytes may hold an element that is not a finite `f32`. One pass in storage order,
    /// which settles nearly every case.
    pub(super) fn may_hold_non_finite(&self) -> bool {
        match self.dtype() {
            DType::F32 => {
                any_masked::<4>(self.bytes, |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000)
            }
            DType::F16 => any_masked::<2>(self.bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
            DType::BF16 => {
                any_masked::<2>(self.bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80)
            }
            DType::F64 => {
                any_masked::<8>(self.bytes, |b| !(f64::from_le_bytes(b) as f32).is_finite())
            }
            _ => false,
        }
    }

    /// Whether all elements have the same bytes in both. `None` if only the values can tell.
    pub(super) fn same_bytes(&self, other: &StridedView<'_>) -> Option<bool> {
        if self.dtype() != other.dtype() || self.strides() != other.strides() {
            return None;
        }
        // Bytes between strided elements may differ, so that only equality is conclusive.
        match self.bytes == other.bytes {
            true => Some(true),
            false => self.contiguous_bytes().map(|_| false),
        }
    }

    /// Passes all elements in row-major order to `out`, a piece at a time.
    ///
    /// Every piece is a whole number of rows, unless a single row is longer than 1 MiB. Memory is
    /// bounded by one piece of at most 1 MiB, or 16 MiB where elements do not lie in order.
    pub(super) fn stream<X>(&self, out: &mut dyn FnMut(&[f32]) -> Result<(), X>) -> Result<(), X> {
        if self.len() == 0 {
            return Ok(());
        }
        let axes = self.shape().len();
        let mut buffer = Vec::new();
        if self.contiguous_bytes().is_some() {
            let cols = self.shape().last().copied().unwrap_or(1);
            let rows = self.len() / cols;
            let plane = Plane { rows, cols, row_stride: cols, col_stride: 1 };
            return plane.stream(self, 0, &mut buffer, out);
        }
        let plane = Plane::last_two(self);
        let outer = axes.saturating_sub(2);
        let mut index = vec![0usize; outer];
        loop {
            let start = index.iter().zip(self.strides()).map(|(i, s)| i * s).sum();
            plane.stream(self, start, &mut buffer, out)?;
            // Advances the index of the outer axes, the last one fastest.
            let Some(axis) = (0..outer).rev().find(|&a| index[a] + 1 < self.shape()[a]) else {
                return Ok(());
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

/// A matrix within a tensor.
#[derive(Clone, Copy)]
struct Plane {
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl Plane {
    /// The last two axes of `tensor`, or a single row if there is one axis.
    fn last_two(tensor: &StridedView<'_>) -> Self {
        let (shape, strides) = (tensor.shape(), tensor.strides());
        match shape.len() {
            0 => Self { rows: 1, cols: 1, row_stride: 0, col_stride: 1 },
            1 => Self { rows: 1, cols: shape[0], row_stride: 0, col_stride: strides[0] },
            axes => Self {
                rows: shape[axes - 2],
                cols: shape[axes - 1],
                row_stride: strides[axes - 2],
                col_stride: strides[axes - 1],
            },
        }
    }

    /// Passes the matrix to `out` in blocks of rows, or in parts of rows if rows are long.
    fn stream<X>(
        self,
        tensor: &StridedView<'_>,
        start: usize,
        buffer: &mut Vec<f32>,
        out: &mut dyn FnMut(&[f32]) -> Result<(), X>,
    ) -> Result<(), X> {
        let block = if self.col_stride == 1 { PIECE } else { BLOCK };
        let mut at_a_time = (block / self.cols).clamp(1, self.rows);
        if self.col_stride != 1 && at_a_time > LINE {
            at_a_time -= at_a_time % LINE;
        }
        let cols_at_a_time = self.cols.min(block);
        for row in (0..self.rows).step_by(at_a_time) {
            for col in (0..self.cols).step_by(cols_at_a_time) {
                let part = Self {
                    rows: at_a_time.min(self.rows - row),
                    cols: cols_at_a_time.min(self.cols - col),
                    ..self
                };
                buffer.resize(part.rows * part.cols, 0.0);
                let at = start + row * self.row_stride + col * self.col_stride;
                part.read(tensor, at, buffer);
                out(buffer)?;
            }
        }
        Ok(())
    }

    /// Converts the matrix, which begins at the tensor's element `start`, into `out`.
    fn read(self, tensor: &StridedView<'_>, start: usize, out: &mut [f32]) {
        let bytes = &tensor.bytes[start * tensor.dtype().size()..];
        match tensor.dtype() {
            DType::F64 => self.read_as::<f64>(bytes, out),
            DType::F32 => self.read_as::<f32>(bytes, out),
            DType::F16 => self.read_as::<half::f16>(bytes, out),
            DType::BF16 => self.read_as::<half::bf16>(bytes, out),
            DType::I64 => self.read_as::<i64>(bytes, out),
            DType::I32 => self.read_as::<i32>(bytes, out),
            DType::I16 => self.read_as::<i16>(bytes, out),
            DType::I8 => self.read_as::<i8>(bytes, out),
            DType::U8 => self.read_as::<u8>(bytes, out),
            DType::Bool => self.read_as::<bool>(bytes, out),
        }
    }

    fn read_as<E: Element>(self, bytes: &[u8], out: &mut [f32]) {
        let Self { rows, cols, row_stride, col_stride } = self;
        let run = |at: usize, len: usize| &bytes[at * E::SIZE..(at + len) * E::SIZE];
        if col_stride == 1 || cols == 1 {
            if row_stride == cols || rows == 1 {
                return E::convert(run(0, rows * cols), out);
            }
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                E::convert(run(row * row_stride, cols), out);
            }
        } else if row_stride == 1 || rows == 1 {
            // Tiles have whole cache lines in both directions.
            let mut tile = [[0f32; RUN]; LINE];
            for row in (0..rows).step_by(RUN) {
                let height = RUN.min(rows - row);
                for col in (0..cols).step_by(LINE) {
                    let width = LINE.min(cols - col);
                    for (c, line) in tile[..width].iter_mut().enumerate() {
                        E::convert(run(row + (col + c) * col_stride, height), &mut line[..height]);
                    }
                    let lines = out[row * cols..].chunks_mut(cols).take(height).enumerate();
                    for (r, line) in lines {
                        for (value, read) in line[col..col + width].iter_mut().zip(&tile) {
                            *value = read[r];
                        }
                    }
                }
            }
        } else {
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                for (col, value) in out.iter_mut().enumerate() {
                    let at = row * row_stride + col * col_stride;
                    E::convert(run(at, 1), std::slice::from_mut(value));
                }
            }
        }
    }
}

/// Whether `test` holds for any group of `N` bytes. The loop becomes vector code.
fn any_masked<const N: usize>(bytes: &[u8], test: impl Fn([u8; N]) -> bool) -> bool {
    let (groups, _) = bytes.as_chunks::<N>();
    groups.chunks(4096).any(|chunk| chunk.iter().fold(false, |any, &group| any | test(group)))
}

/// An element type in a file, little-endian and at any alignment.
trait Element {
    const SIZE: usize;
    /// Converts all of `source` into `target`, which has the same number of elements.
    fn convert(source: &[u8], target: &mut [f32]);
}

macro_rules! element {
    ($($type:ty),*) => {$(
        impl Element for $type {
            const SIZE: usize = size_of::<$type>();
            fn convert(source: &[u8], target: &mut [f32]) {
                let (groups, _) = source.as_chunks::<{ size_of::<$type>() }>();
                for (value, &group) in target.iter_mut().zip(groups) {
                    *value = <$type>::from_le_bytes(group) as f32;
                }
            }
        }
    )*};
}

element!(f64, f32, i64, i32, i16, i8, u8);

impl Element for bool {
    const SIZE: usize = 1;
    fn convert(source: &[u8], target: &mut [f32]) {
        for (value, &byte) in target.iter_mut().zip(source) {
            *value = f32::from(u8::from(byte != 0));
        }
    }
}

impl Element for half::bf16 {
    const SIZE: usize = 2;
    fn convert(source: &[u8], target: &mut [f32]) {
        let (groups, _) = source.as_chunks::<2>();
        for (value, &group) in target.iter_mut().zip(groups) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(group)) << 16);
        }
    }
}

impl Element for half::f16 {
    const SIZE: usize = 2;
    fn convert(source: &[u8], target: &mut [f32]) {
        // Copies to aligned integers, for which `half` uses instructions of the processor.
        let mut bits = [0u16; 256];
        let (groups, _) = source.as_chunks::<2>();
        for (groups, target) in groups.chunks(bits.len()).zip(target.chunks_mut(bits.len())) {
            let bits = &mut bits[..groups.len()];
            for (bits, &group) in bits.iter_mut().zip(groups) {
                *bits = u16::from_le_bytes(group);
            }
            bits.reinterpret_cast::<Self>().convert_to_f32_slice(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a matrix of the numbers from 0 on with its conversion, element by element.
    fn check(shape: [usize; 2], strides: [usize; 2]) {
        let layout = Layout::strided(DType::F32, shape.to_vec(), strides.to_vec()).unwrap();
        let bytes: Vec<u8> =
            (0..layout.span).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let view = StridedView::new(&layout, &bytes);
        let expected = (0..shape[0]).flat_map(|row| {
            (0..shape[1]).map(move |col| (row * strides[0] + col * strides[1]) as f32)
        });
        let mut found = Vec::new();
        let mut whole_rows = true;
        let Ok(()) = view.stream(&mut |piece| {
            assert!(piece.len() <= BLOCK);
            whole_rows &= piece.len() % shape[1] == 0;
            found.extend_from_slice(piece);
            Ok::<_, std::convert::Infallible>(())
        });
        assert!(found.into_iter().eq(expected), "{shape:?} {strides:?}");
        assert!(whole_rows || shape[1] > PIECE, "{shape:?} {strides:?}");
    }

    #[test]
    fn matrices_are_read_across_all_block_borders() {
        for rows in [1, 2, LINE, LINE + 1, RUN - 1, RUN, RUN + 1] {
            for cols in [1, 3, LINE - 1, LINE, 2 * LINE + 1] {
                check([rows, cols], [cols, 1]);
                check([rows, cols], [1, rows]);
                check([rows, cols], [2 * cols + 1, 2]);
                check([rows, cols], [1, 0]);
            }
        }
        // Matrices of more than one block: long rows, many rows.
        check([2, PIECE + 5], [PIECE + 5, 1]);
        check([BLOCK / 64 + 3, 70], [70, 1]);
        check([70, BLOCK / 64 + 3], [1, 70]);
    }

    #[test]
    fn more_axes_are_read_in_row_major_order() {
        let layout = Layout::strided(DType::U8, vec![2, 3, 4], vec![1, 8, 2]).unwrap();
        let bytes: Vec<u8> = (0..24).collect();
        let view = StridedView::new(&layout, &bytes);
        let at = |i: usize, j: usize, k: usize| (i + 8 * j + 2 * k) as f32;
        let expected: Vec<f32> = (0..2)
            .flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| at(i, j, k))))
            .collect();
        assert_eq!(view.to_f32(), expected);
        let swapped = layout.transposed();
        assert_eq!(swapped.shape(), [3, 2, 4]);
        let view = StridedView::new(&swapped, &bytes);
        assert_eq!(view.to_f32()[4..6], [at(1, 0, 0), at(1, 0, 1)]);
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let strided = |shape: &[usize], strides: &[usize]| {
            Layout::strided(DType::F32, shape.to_vec(), strides.to_vec())
        };
        assert!(strided(&[1 << 40, 1 << 40], &[0, 0]).is_err());
        assert!(strided(&[1 << 30], &[0]).is_err());
        assert!(strided(&[2, 2], &[usize::MAX, 1]).is_err());
        assert!(strided(&[3, 3], &[usize::MAX / 2, usize::MAX / 2]).is_err());
        assert!(strided(&[usize::MAX], &[1]).is_err());
        assert!(strided(&[2], &[1, 1]).is_err());
        assert!(Layout::contiguous(DType::U8, vec![usize::MAX, 2, 3]).is_err());
        assert_eq!(strided(&[0, 5], &[7, 1]).unwrap().span_bytes(), 0);
    }
}
