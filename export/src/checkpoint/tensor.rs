//! A tensor of a checkpoint as `f32`, piece by piece: dequantized if necessary, and with the
//! changes of adapters.

use std::convert::Infallible;

use super::bitsandbytes::QuantizedView;
use super::change::{Change, Prepared};
use super::strided::{DType, StridedView};
use crate::Result;

/// A tensor of a [`Checkpoint`](super::Checkpoint), still in the file.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    values: Values<'a>,
    changes: Vec<Change<StridedView<'a>>>,
}

#[derive(Clone, Debug)]
pub(super) enum Values<'a> {
    Stored(StridedView<'a>),
    Quantized(QuantizedView<'a>),
}

impl<'a> TensorView<'a> {
    pub(super) fn new(values: Values<'a>, changes: Vec<Change<StridedView<'a>>>) -> Self {
        Self { values, changes }
    }

    /// The size of each axis; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        match &self.values {
            Values::Stored(view) => view.shape(),
            Values::Quantized(view) => view.shape(),
        }
    }

    /// The stored element type; of quantized tensors the type of the codes.
    pub fn dtype(&self) -> DType {
        match &self.values {
            Values::Stored(view) => view.dtype(),
            Values::Quantized(view) => view.dtype(),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements in row-major order.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        let Ok(()) = self.stream(&mut |piece| {
            values.extend_from_slice(piece);
            Ok::<_, Infallible>(())
        });
        values
    }

    /// Passes all elements in row-major order to `out`, piece by piece.
    ///
    /// Memory is bounded by one piece of at most 1 MiB, or 16 MiB if elements do not lie in order,
    /// whatever the size of the tensor. A tensor that an adapter changes also needs memory for the
    /// adapter's operands.
    pub fn write_f32(&self, out: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        self.stream(out)
    }

    /// Row-major index of the first element that is not a finite `f32`.
    pub fn first_non_finite(&self) -> Option<usize> {
        if let (Values::Stored(view), []) = (&self.values, self.changes.as_slice())
            && !view.may_hold_non_finite()
        {
            return None;
        }
        let mut before = 0;
        self.stream(&mut |piece| match piece.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(before + at),
            None => {
                before += piece.len();
                Ok(())
            }
        })
        .err()
    }

    /// Whether the two tensors have the same shape and, converted to `f32`, the same bits.
    pub fn same_values(&self, other: &TensorView<'_>) -> bool {
        if self.shape() != other.shape() {
            return false;
        }
        if let (Values::Stored(a), Values::Stored(b)) = (&self.values, &other.values)
            && self.changes.is_empty()
            && other.changes.is_empty()
            && let Some(same) = a.same_bytes(b)
        {
            return same;
        }
        let theirs = other.to_f32();
        let mut rest = theirs.as_slice();
        self.stream(&mut |piece| {
            let (head, tail) = rest.split_at(piece.len());
            rest = tail;
            let same = piece.iter().zip(head).all(|(a, b)| a.to_bits() == b.to_bits());
            if same { Ok(()) } else { Err(()) }
        })
        .is_ok()
    }

    fn stream<X>(&self, out: &mut dyn FnMut(&[f32]) -> Result<(), X>) -> Result<(), X> {
        let columns = match self.shape() {
            [_, rest @ ..] => rest.iter().product::<usize>().max(1),
            [] => 1,
        };
        let mut prepared = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            let next = Prepared::new(change, columns, &mut |sink| {
                let Ok(()) = self.through(&prepared, columns, &mut |piece| {
                    sink(piece);
                    Ok::<_, Infallible>(())
                });
            });
            prepared.push(next);
        }
        self.through(&prepared, columns, out)
    }

    /// Streams the stored elements with the first `changes` applied.
    fn through<X>(
        &self,
        changes: &[Prepared],
        columns: usize,
        out: &mut dyn FnMut(&[f32]) -> Result<(), X>,
    ) -> Result<(), X> {
        let mut at = 0;
        let mut changed = Vec::new();
        let mut next = |piece: &[f32]| {
            if changes.is_empty() {
                return out(piece);
            }
            changed.clear();
            changed.extend_from_slice(piece);
            for change in changes {
                change.apply(at, columns, &mut changed);
            }
            at += piece.len();
            out(&changed)
        };
        match &self.values {
            Values::Stored(view) => view.stream(&mut next),
            Values::Quantized(view) => view.stream(&mut next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::strided::Layout;
    use super::*;

    fn first_non_finite(layout: &Layout, bytes: &[u8]) -> Option<usize> {
        let values = Values::Stored(StridedView::new(layout, bytes));
        TensorView::new(values, vec![]).first_non_finite()
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_found() {
        let find = |dtype: DType, values: &[&[u8]]| {
            let layout = Layout::contiguous(dtype, vec![values.len()]).unwrap();
            first_non_finite(&layout, &values.concat())
        };
        let nan = f32::NAN.to_le_bytes();
        let one = 1f32.to_le_bytes();
        assert_eq!(find(DType::F32, &[one.as_slice(); 9000]), None);
        let mut late = vec![one.as_slice(); 9000];
        late[8999] = &nan;
        assert_eq!(find(DType::F32, &late), Some(8999));
        assert_eq!(find(DType::F16, &[&[0xff, 0x7b], &[0, 0xfc]]), Some(1));
        assert_eq!(find(DType::BF16, &[&[0x7f, 0x7f], &[0x80, 0x7f]]), Some(1));
        // The value is finite in float64, but not in float32.
        assert_eq!(find(DType::F64, &[&1e300f64.to_le_bytes()]), Some(0));
        assert_eq!(find(DType::I16, &[&[0xff, 0x7f]]), None);
        // The bytes between two elements do not belong to the tensor.
        let layout = Layout::strided(DType::F32, vec![2], vec![2]).unwrap();
        let bytes = [one, nan, one].concat();
        assert_eq!(first_non_finite(&layout, &bytes), None);
    }
}
