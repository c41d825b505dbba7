//! Keys and values of the decoder's cross-attention, and their cache.

use std::fmt::Debug;

use epitome_kernels::attention::cross_attention::KeyOrValue;
use epitome_kernels::attention::{StoredKv, padded_positions};
use half::f16;
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::tensors::{AnyBitPattern, allocate};
use crate::bundle::ModelShape;
use crate::error::{Error, Result};

/// Packed keys and values of one layer's cross-attention: float32, float16 or int8
/// `[1, heads, slots, row]` each, as in the graphs.
pub(super) struct CrossKv {
    pub(super) key: DynTensor,
    pub(super) value: DynTensor,
}

/// Element types of keys and values.
pub(super) const ELEMENTS: [TensorElementType; 3] =
    [TensorElementType::Float32, TensorElementType::Float16, TensorElementType::Int8];

/// Calls a generic function for an element type.
macro_rules! by_element {
    ($element_type:expr, $($function:ident)::+($($argument:expr),*)) => {
        match $element_type {
            TensorElementType::Int8 => $($function)::+::<i8>($($argument),*),
            TensorElementType::Float16 => $($function)::+::<f16>($($argument),*),
            _ => $($function)::+::<f32>($($argument),*),
        }
    };
}

/// Row lengths of packed keys and of packed values.
pub(super) fn packed_rows(element_type: TensorElementType, head_size: usize) -> [usize; 2] {
    by_element!(element_type, KeyOrValue::rows(head_size))
}

impl CrossKv {
    /// Keys and values of a document.
    ///
    /// # Errors
    ///
    /// When the element type is none of [`ELEMENTS`].
    pub(super) fn new(key: DynTensor, value: DynTensor) -> Result<Self> {
        for tensor in [&key, &value] {
            let kind = *tensor.data_type();
            if !ELEMENTS.contains(&kind) {
                let problem =
                    format!("keys and values are {kind}, and not float32, float16 or int8");
                return Err(Error::onnx_runtime("in the encoder", problem));
            }
        }
        Ok(Self { key, value })
    }

    /// Allocates keys and values of a source of `tokens` tokens.
    pub(super) fn allocate(
        element_type: TensorElementType,
        shape: &ModelShape,
        tokens: usize,
    ) -> Result<Self> {
        let slots = padded_positions(tokens + shape.source_prompt);
        let [key, value] = packed_rows(element_type, shape.head_size).map(|row| {
            let dims = [1, shape.heads, slots, row];
            by_element!(element_type, allocate_elements(&dims))
        });
        Self::new(key?, value?)
    }

    /// Whether every key and value is a finite number.
    pub(super) fn is_finite(&self) -> bool {
        let tensors = [&self.key, &self.value];
        tensors.into_iter().all(|tensor| by_element!(tensor.data_type(), is_finite(tensor)))
    }
}

/// The encoder's result for one document: cross-attention keys and values of every decoder layer,
/// in the format of [`crate::bundle::io::cross_key`] and [`crate::bundle::io::cross_value`].
pub struct SourceMemory {
    pub(super) cross: Vec<CrossKv>,
    pub(super) length: usize,
}

impl SourceMemory {
    /// Number of source tokens.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether every key and value is a finite number.
    pub fn is_finite(&self) -> bool {
        self.cross.iter().all(CrossKv::is_finite)
    }
}

/// Keys and values of all active documents, one [`CrossKv`] per layer.
///
/// A slot holds one position of all heads. A document has consecutive slots in every tensor, with
/// its keys and values as the encoder wrote them: they are not padded to the length of others. The
/// tensors of a single document are used without a copy.
pub(super) struct CrossKvCache {
    pub(super) layers: Vec<CrossKv>,
    heads: usize,
    head_size: usize,
    slots: usize,
    /// Sorted by `first_slot`.
    allocations: Vec<Allocation>,
}

/// The slots of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allocation {
    document: usize,
    first_slot: usize,
    slots: usize,
}

impl CrossKvCache {
    /// Empty cache.
    pub(super) fn new(shape: &ModelShape) -> Self {
        Self {
            layers: Vec::new(),
            heads: shape.heads,
            head_size: shape.head_size,
            slots: 0,
            allocations: Vec::new(),
        }
    }

    /// Adds a document. Returns whether the tensors were replaced.
    ///
    /// # Errors
    ///
    /// When the tensors do not fit the model, or cannot be allocated. Other documents keep their
    /// keys and values, but the tensors may have been replaced.
    pub(super) fn insert(&mut self, document: usize, memory: SourceMemory) -> Result<bool> {
        let slots = memory.slots(self.heads, self.head_size)?;
        if self.allocations.is_empty() {
            self.allocations.push(Allocation { document, first_slot: 0, slots });
            self.layers = memory.cross;
            self.slots = slots;
            return Ok(true);
        }
        let mut replaced = false;
        let mut gap = self.find_gap(slots);
        if gap.is_none() {
            // The new tensors have half as many slots again as needed.
            let used: usize = self.allocations.iter().map(|it| it.slots).sum();
            self.compact((used + slots) * 3 / 2)?;
            replaced = true;
            gap = self.find_gap(slots);
        }
        let (index, first_slot) = gap.expect("the tensors are large enough");
        for (to, from) in self.layers.iter_mut().zip(&memory.cross) {
            let pairs = [(&mut to.key, &from.key), (&mut to.value, &from.value)];
            for (to, from) in pairs {
                by_element!(from.data_type(), copy_slots(from, 0, to, first_slot, slots))?;
            }
        }
        self.allocations.insert(index, Allocation { document, first_slot, slots });
        Ok(replaced)
    }

    /// Frees the slots of a document.
    pub(super) fn remove(&mut self, document: usize) {
        self.allocations.retain(|it| it.document != document);
    }

    /// The first slot of a document.
    pub(super) fn first_slot(&self, document: usize) -> usize {
        let allocation = self.allocations.iter().find(|it| it.document == document);
        allocation.expect("the document has joined").first_slot
    }

    /// Finds `slots` free consecutive slots. Returns the index of the new allocation, and its first
    /// slot.
    fn find_gap(&self, slots: usize) -> Option<(usize, usize)> {
        let ends = self.allocations.iter().map(|it| it.first_slot + it.slots);
        let gap_starts = std::iter::once(0).chain(ends);
        let gap_ends = self.allocations.iter().map(|it| it.first_slot).chain([self.slots]);
        let mut gaps = gap_starts.zip(gap_ends).enumerate();
        gaps.find(|(_, (start, end))| end - start >= slots)
            .map(|(index, (start, _))| (index, start))
    }

    /// Copies all documents to new tensors of `slots` slots, without gaps between them.
    fn compact(&mut self, slots: usize) -> Result<()> {
        // All layers are copied before any is replaced, so that a failure changes nothing.
        let copy = |tensor: &DynTensor| {
            by_element!(tensor.data_type(), compacted(tensor, &self.allocations, slots))
        };
        let layers = self.layers.iter();
        self.layers = layers
            .map(|layer| Ok(CrossKv { key: copy(&layer.key)?, value: copy(&layer.value)? }))
            .collect::<Result<_>>()?;
        let mut first_slot = 0;
        for allocation in &mut self.allocations {
            allocation.first_slot = first_slot;
            first_slot += allocation.slots;
        }
        self.slots = slots;
        Ok(())
    }
}

impl SourceMemory {
    /// Checks the shapes of all tensors. Returns their number of slots: that of source tokens and
    /// prompt, padded.
    fn slots(&self, heads: usize, head_size: usize) -> Result<usize> {
        let first = self.cross.first().and_then(|layer| layer.key.shape().get(2));
        let slots = first.map_or(0, |&slots| usize::try_from(slots).unwrap_or(0));
        let has_shape = |tensor: &DynTensor, row: usize| {
            tensor.shape().iter().eq(&[1, heads, slots, row].map(|dim| dim as i64))
        };
        let fits = |CrossKv { key, value }: &CrossKv| {
            let [key_row, value_row] = packed_rows(*key.data_type(), head_size);
            key.data_type() == value.data_type()
                && has_shape(key, key_row)
                && has_shape(value, value_row)
        };
        if slots == padded_positions(slots) && slots >= self.length && self.cross.iter().all(fits) {
            return Ok(slots);
        }
        let problem = "keys and values have other shapes than the manifest says";
        Err(Error::onnx_runtime("in the encoder", problem))
    }
}

/// Element type of keys and values.
trait Element: AnyBitPattern + StoredKv {}
impl Element for f32 {}
impl Element for f16 {}
impl Element for i8 {}

fn allocate_elements<T: Element>(dims: &[usize]) -> Result<DynTensor> {
    Ok(allocate::<T>(dims)?.upcast())
}

fn elements<T: Element>(tensor: &DynTensor) -> Result<&[T]> {
    let extracted = tensor.try_extract_tensor::<T>();
    let failed = |error| Error::onnx_runtime("reading keys and values", error);
    let (_, elements) = extracted.map_err(failed)?;
    Ok(elements)
}

fn is_finite<T: Element>(tensor: &DynTensor) -> bool {
    let [slots, row] = [2, 3].map(|axis| tensor.shape()[axis] as usize);
    let finite = |head: &[T]| T::are_finite(head, slots);
    elements::<T>(tensor)
        .is_ok_and(|numbers| numbers.chunks_exact((slots * row).max(1)).all(finite))
}

/// Copies consecutive slots of a tensor to another.
fn copy_slots<T: Element>(
    from: &DynTensor,
    from_slot: usize,
    to: &mut DynTensor,
    to_slot: usize,
    slots: usize,
) -> Result<()> {
    let size = slot_size(from);
    let from = &elements::<T>(from)?[from_slot * size..][..slots * size];
    let extracted = to.try_extract_tensor_mut::<T>();
    let (_, to) =
        extracted.map_err(|error| Error::onnx_runtime("keeping keys and values", error))?;
    to[to_slot * size..][..slots * size].copy_from_slice(from);
    Ok(())
}

/// A copy of a tensor with `slots` slots, without gaps between the allocations.
fn compacted<T: Element>(
    tensor: &DynTensor,
    allocations: &[Allocation],
    slots: usize,
) -> Result<DynTensor> {
    let dim = |axis: usize| tensor.shape()[axis] as usize;
    let copy: Tensor<T> = allocate(&[1, dim(1), slots, dim(3)])?;
    let mut copy = copy.upcast();
    let mut first_slot = 0;
    for allocation in allocations {
        let Allocation { first_slot: from_slot, slots, .. } = *allocation;
        copy_slots::<T>(tensor, from_slot, &mut copy, first_slot, slots)?;
        first_slot += slots;
    }
    Ok(copy)
}

/// Number of elements of a slot: one row of each head.
fn slot_size(tensor: &DynTensor) -> usize {
    (tensor.shape()[1] * tensor.shape()[3]) as usize
}

#[cfg(test)]
mod tests {
    use super::super::tensors::filled;
    use super::*;

    const HEADS: usize = 2;
    const HEAD_SIZE: usize = 3;
    /// Numbers of slots and sizes of value rows are multiples of this.
    const UNIT: usize = padded_positions(1);

    fn empty() -> CrossKvCache {
        CrossKvCache {
            layers: Vec::new(),
            heads: HEADS,
            head_size: HEAD_SIZE,
            slots: 0,
            allocations: Vec::new(),
        }
    }

    /// A tensor of `slots` slots. Its elements are `first`, `first + 1`, ..., modulo 2048.
    fn tensor<T: Element>(slots: usize, row: usize, first: usize, of: fn(f32) -> T) -> DynTensor {
        let values = (0..HEADS * slots * row).map(|index| of(((first + index) % 2048) as f32));
        filled(&[1, HEADS, slots, row], values).unwrap().upcast()
    }

    /// Keys and values of `units * UNIT` slots. Their elements begin with `first`, `first + 1`, ...
    fn memory<T: Element>(units: usize, first: usize, of: fn(f32) -> T) -> SourceMemory {
        let slots = units * UNIT;
        let [key, value] = KeyOrValue::rows::<T>(HEAD_SIZE);
        let key = tensor(slots, key, first, of);
        let value = tensor(slots, value, first + 500, of);
        SourceMemory { cross: vec![CrossKv::new(key, value).unwrap()], length: slots }
    }

    fn check<T: Element + PartialEq>(of: fn(f32) -> T) {
        let stored = |cache: &CrossKvCache, document, units: usize| -> [Vec<T>; 2] {
            let [layer] = cache.layers.as_slice() else { panic!("one layer") };
            [&layer.key, &layer.value].map(|tensor| {
                let first = cache.first_slot(document) * slot_size(tensor);
                let count = units * UNIT * slot_size(tensor);
                elements::<T>(tensor).unwrap()[first..][..count].to_vec()
            })
        };
        let expected = |units: usize, first| -> [Vec<T>; 2] {
            let layer = memory(units, first, of).cross.remove(0);
            [layer.key, layer.value].map(|tensor| elements::<T>(&tensor).unwrap().to_vec())
        };
        let memory = |units, first| memory(units, first, of);
        let mut cache = empty();
        assert!(cache.insert(0, memory(4, 0)).unwrap());
        assert_eq!(cache.slots, 4 * UNIT, "the tensors of the document");
        assert!(cache.insert(1, memory(2, 100)).unwrap());
        assert_eq!(cache.slots, 9 * UNIT);
        assert!(!cache.insert(2, memory(3, 200)).unwrap());
        cache.remove(1);
        assert!(!cache.insert(3, memory(1, 300)).unwrap(), "in the slots of the second");
        assert_eq!(cache.first_slot(3), 4 * UNIT);
        assert!(cache.insert(4, memory(7, 400)).unwrap());
        for (document, units, first) in [(0, 4, 0), (2, 3, 200), (3, 1, 300), (4, 7, 400)] {
            assert!(stored(&cache, document, units) == expected(units, first), "{document}");
        }
        for document in [0, 2, 3, 4] {
            cache.remove(document);
        }
        assert!(cache.insert(5, memory(2, 0)).unwrap());
        assert_eq!(cache.slots, 2 * UNIT);
        assert!(cache.layers[0].is_finite());
        let infinite = tensor(2, HEAD_SIZE, 0, |_| f32::INFINITY);
        let key = tensor(2, KeyOrValue::Key.row::<T>(HEAD_SIZE), 0, of);
        let infinite = CrossKv::new(key, infinite).unwrap();
        assert!(!infinite.is_finite());
    }

    #[test]
    fn documents_join_and_leave() {
        crate::library::OnnxRuntime::load().unwrap();
        check::<f32>(|value| value);
        check::<f16>(f16::from_f32);
        check::<i8>(|value| (value % 101.0) as i8);
        let integers: Tensor<i64> = filled(&[1], [1]).unwrap();
        let floats = tensor(1, HEAD_SIZE, 0, |value| value);
        let Err(error) = CrossKv::new(floats, integers.upcast()) else {
            panic!("integers of 64 bits are refused");
        };
        assert!(error.to_string().contains("not float32, float16 or int8"), "{error}");
    }

    #[test]
    fn memories_of_other_shapes_are_refused() {
        crate::library::OnnxRuntime::load().unwrap();
        let memory = || memory(2, 0, |value| value);
        let edited = |edit: fn(&mut SourceMemory)| {
            let mut edited = memory();
            edit(&mut edited);
            empty().insert(0, edited).map_err(|error| error.to_string())
        };
        assert_eq!(edited(|_| ()), Ok(true));
        let edits: [fn(&mut SourceMemory); 4] = [
            |memory| {
                memory.cross[0].value = tensor(UNIT, UNIT, 0, |it: f32| it);
            },
            |memory| memory.length = 2 * UNIT + 1,
            |memory| memory.cross[0].key = tensor(2 * UNIT, HEAD_SIZE + 1, 0, |value| value),
            |memory| {
                let values = std::iter::repeat_n(0.0, HEADS * 2 * UNIT * UNIT);
                let tensor = filled(&[HEADS, 1, 2 * UNIT, UNIT], values);
                memory.cross[0].value = tensor.unwrap().upcast();
            },
        ];
        for edit in edits {
            let error = edited(edit).unwrap_err();
            assert!(error.contains("other shapes"), "{error}");
        }
    }

    #[test]
    fn a_failed_insertion_keeps_the_other_documents() {
        crate::library::OnnxRuntime::load().unwrap();
        let mut first = memory(2, 0, |value| value);
        let integers = |row| -> DynTensor {
            let zeros = std::iter::repeat_n(0, HEADS * 2 * UNIT * row);
            filled::<i64>(&[1, HEADS, 2 * UNIT, row], zeros).unwrap().upcast()
        };
        // The second layer cannot be moved.
        let (key, value) = (integers(HEAD_SIZE), integers(UNIT));
        first.cross.push(CrossKv { key, value });
        let mut cache = empty();
        assert!(cache.insert(0, first).unwrap());
        assert!(cache.insert(1, memory(2, 0, |value| value)).is_err());
        assert_eq!(cache.layers.len(), 2);
        let slots = |layer: &CrossKv| layer.key.shape()[2] as usize;
        assert!(cache.layers.iter().all(|layer| slots(layer) == cache.slots));
    }
}
