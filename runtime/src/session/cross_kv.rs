//! Keys and values of the decoder's cross-attention: its memory of documents.

use std::fmt::Debug;

use epitome_kernels::attention::cross_attention::KeyOrValue;
use epitome_kernels::attention::{StoredKv, padded_positions};
use half::f16;
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::tensors::{AnyBits, allocate};
use crate::bundle::ModelShape;
use crate::error::{Error, Result};

/// Keys and values of one layer's cross-attention, as the graphs have them: `[1, heads, places,
/// row]`, of which a document's are packed.
pub(super) struct CrossKv {
    pub(super) key: DynTensor,
    pub(super) value: DynTensor,
}

/// What the elements of keys and values may be.
pub(super) const ELEMENTS: [TensorElementType; 3] =
    [TensorElementType::Float32, TensorElementType::Float16, TensorElementType::Int8];

/// Calls a function made for what elements are.
macro_rules! by_element {
    ($element_type:expr, $($function:ident)::+($($argument:expr),*)) => {
        match $element_type {
            TensorElementType::Int8 => $($function)::+::<i8>($($argument),*),
            TensorElementType::Float16 => $($function)::+::<f16>($($argument),*),
            _ => $($function)::+::<f32>($($argument),*),
        }
    };
}

/// Lengths of the rows of packed keys and values.
pub(super) fn packed_rows(element_type: TensorElementType, head_size: usize) -> [usize; 2] {
    by_element!(element_type, KeyOrValue::rows(head_size))
}

impl CrossKv {
    /// Those of a document.
    ///
    /// # Errors
    ///
    /// When their elements are none of [`ELEMENTS`].
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

    /// Memory for those of a source of so many tokens.
    pub(super) fn allocate(
        element_type: TensorElementType,
        shape: &ModelShape,
        tokens: usize,
    ) -> Result<Self> {
        let places = padded_positions(tokens + shape.source_prompt);
        let [key, value] = packed_rows(element_type, shape.head_size).map(|row| {
            let dims = [1, shape.heads, places, row];
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

/// What the decoder needs of a document: cross-attention keys and values of every decoder layer, as
/// [`crate::bundle::io::cross_key`] and [`crate::bundle::io::cross_value`] have them.
pub struct SourceMemory {
    pub(super) cross: Vec<CrossKv>,
    pub(super) length: usize,
}

impl SourceMemory {
    /// Tokens of the source.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether every key and value is a finite number.
    pub fn is_finite(&self) -> bool {
        self.cross.iter().all(CrossKv::is_finite)
    }
}

/// The memories of all documents that decode, one [`CrossKv`] a layer.
///
/// A document has some successive places of every tensor, where a place is as much as one position
/// takes: its keys and values lie there as the encoder gave them, without padding to the length of
/// others. The tensors of a single document are taken as they are.
pub(super) struct CrossMemory {
    pub(super) layers: Vec<CrossKv>,
    heads: usize,
    head_size: usize,
    places: usize,
    /// In the order of their places.
    stored: Vec<Stored>,
}

/// Where the memory of a document lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    document: usize,
    first: usize,
    places: usize,
}

impl CrossMemory {
    /// Of no document yet.
    pub(super) fn new(shape: &ModelShape) -> Self {
        Self {
            layers: Vec::new(),
            heads: shape.heads,
            head_size: shape.head_size,
            places: 0,
            stored: Vec::new(),
        }
    }

    /// Takes in the memory of a document. Whether the tensors are others now.
    ///
    /// # Errors
    ///
    /// Where it does not fit the model, or there is no room for it. The tensors may be others then,
    /// and documents that are there keep their memory.
    pub(super) fn insert(&mut self, document: usize, memory: SourceMemory) -> Result<bool> {
        let places = memory.places(self.heads, self.head_size)?;
        if self.stored.is_empty() {
            self.stored.push(Stored { document, first: 0, places });
            self.layers = memory.cross;
            self.places = places;
            return Ok(true);
        }
        let mut replaced = false;
        let mut gap = self.gap(places);
        if gap.is_none() {
            // What is there moves together, into half as much memory again as is needed now.
            let needed: usize = self.stored.iter().map(|stored| stored.places).sum();
            self.move_together((needed + places) * 3 / 2)?;
            replaced = true;
            gap = self.gap(places);
        }
        let (index, first) = gap.expect("there is room now");
        for (to, from) in self.layers.iter_mut().zip(&memory.cross) {
            let pairs = [(&mut to.key, &from.key), (&mut to.value, &from.value)];
            for (to, from) in pairs {
                by_element!(from.data_type(), copy_places(from, 0, to, first, places))?;
            }
        }
        self.stored.insert(index, Stored { document, first, places });
        Ok(replaced)
    }

    /// Gives up the memory of a document.
    pub(super) fn remove(&mut self, document: usize) {
        self.stored.retain(|stored| stored.document != document);
    }

    /// The first place of a document that is there.
    pub(super) fn first_place(&self, document: usize) -> usize {
        let stored = self.stored.iter().find(|stored| stored.document == document);
        stored.expect("the document has joined").first
    }

    /// The first gap of so many places: its index among what is stored, and its first place.
    fn gap(&self, places: usize) -> Option<(usize, usize)> {
        let starts = std::iter::once(0).chain(self.stored.iter().map(|it| it.first + it.places));
        let ends = self.stored.iter().map(|stored| stored.first).chain([self.places]);
        let mut gaps = starts.zip(ends).enumerate();
        gaps.find(|(_, (start, end))| end - start >= places)
            .map(|(index, (start, _))| (index, start))
    }

    /// Moves all documents into new tensors, without gaps between them.
    fn move_together(&mut self, places: usize) -> Result<()> {
        // All of them, before the first takes its place: a failure changes nothing.
        let moved = |tensor: &DynTensor| {
            by_element!(tensor.data_type(), moved_together(tensor, &self.stored, places))
        };
        let layers = self.layers.iter();
        self.layers = layers
            .map(|layer| Ok(CrossKv { key: moved(&layer.key)?, value: moved(&layer.value)? }))
            .collect::<Result<_>>()?;
        let mut first = 0;
        for stored in &mut self.stored {
            stored.first = first;
            first += stored.places;
        }
        self.places = places;
        Ok(())
    }
}

impl SourceMemory {
    /// Places of every tensor, where all are of the shapes that the model has: those of the tokens,
    /// padded. A model with a prompt before every source has more.
    fn places(&self, heads: usize, head_size: usize) -> Result<usize> {
        let first = self.cross.first().and_then(|layer| layer.key.shape().get(2));
        let places = first.map_or(0, |&places| usize::try_from(places).unwrap_or(0));
        let is = |tensor: &DynTensor, row: usize| {
            tensor.shape().iter().eq(&[1, heads, places, row].map(|dim| dim as i64))
        };
        let fits = |CrossKv { key, value }: &CrossKv| {
            let [key_row, value_row] = packed_rows(*key.data_type(), head_size);
            key.data_type() == value.data_type() && is(key, key_row) && is(value, value_row)
        };
        if places == padded_positions(places)
            && places >= self.length
            && self.cross.iter().all(fits)
        {
            return Ok(places);
        }
        let problem = "keys and values have other shapes than the manifest says";
        Err(Error::onnx_runtime("in the encoder", problem))
    }
}

/// A number of a key or value.
trait Element: AnyBits + StoredKv {}
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
    let [places, row] = [2, 3].map(|axis| tensor.shape()[axis] as usize);
    let finite = |head: &[T]| T::are_finite(head, places);
    elements::<T>(tensor)
        .is_ok_and(|numbers| numbers.chunks_exact((places * row).max(1)).all(finite))
}

/// Copies places of one tensor to places of another.
fn copy_places<T: Element>(
    from: &DynTensor,
    from_first: usize,
    to: &mut DynTensor,
    to_first: usize,
    places: usize,
) -> Result<()> {
    let place = place_size(from);
    let from = &elements::<T>(from)?[from_first * place..][..places * place];
    let extracted = to.try_extract_tensor_mut::<T>();
    let (_, to) =
        extracted.map_err(|error| Error::onnx_runtime("keeping keys and values", error))?;
    to[to_first * place..][..places * place].copy_from_slice(from);
    Ok(())
}

/// A tensor of so many places with what is stored in another, without gaps.
fn moved_together<T: Element>(
    tensor: &DynTensor,
    stored: &[Stored],
    places: usize,
) -> Result<DynTensor> {
    let dim = |axis: usize| tensor.shape()[axis] as usize;
    let moved: Tensor<T> = allocate(&[1, dim(1), places, dim(3)])?;
    let mut moved = moved.upcast();
    let mut first = 0;
    for stored in stored {
        copy_places::<T>(tensor, stored.first, &mut moved, first, stored.places)?;
        first += stored.places;
    }
    Ok(moved)
}

/// Elements of a place: a row of every head.
fn place_size(tensor: &DynTensor) -> usize {
    (tensor.shape()[1] * tensor.shape()[3]) as usize
}

#[cfg(test)]
mod tests {
    use super::super::tensors::filled;
    use super::*;

    const HEADS: usize = 2;
    const HEAD_SIZE: usize = 3;
    /// Positions of a source are padded to a multiple of it, and so are values.
    const UNIT: usize = padded_positions(1);

    fn empty() -> CrossMemory {
        CrossMemory {
            layers: Vec::new(),
            heads: HEADS,
            head_size: HEAD_SIZE,
            places: 0,
            stored: Vec::new(),
        }
    }

    /// Of so many places, with numbers from `first` on.
    fn tensor<T: Element>(places: usize, row: usize, first: usize, of: fn(f32) -> T) -> DynTensor {
        let values = (0..HEADS * places * row).map(|index| of(((first + index) % 2048) as f32));
        filled(&[1, HEADS, places, row], values).unwrap().upcast()
    }

    /// Of so many units, with numbers from `first` on.
    fn memory<T: Element>(units: usize, first: usize, of: fn(f32) -> T) -> SourceMemory {
        let places = units * UNIT;
        let [key, value] = KeyOrValue::rows::<T>(HEAD_SIZE);
        let key = tensor(places, key, first, of);
        let value = tensor(places, value, first + 500, of);
        SourceMemory { cross: vec![CrossKv::new(key, value).unwrap()], length: places }
    }

    fn check<T: Element + PartialEq>(of: fn(f32) -> T) {
        let stored = |memory: &CrossMemory, document, units: usize| -> [Vec<T>; 2] {
            let [layer] = memory.layers.as_slice() else { panic!("one layer") };
            [&layer.key, &layer.value].map(|tensor| {
                let first = memory.first_place(document) * place_size(tensor);
                let count = units * UNIT * place_size(tensor);
                elements::<T>(tensor).unwrap()[first..][..count].to_vec()
            })
        };
        let expected = |units: usize, first| -> [Vec<T>; 2] {
            let layer = memory(units, first, of).cross.remove(0);
            [layer.key, layer.value].map(|tensor| elements::<T>(&tensor).unwrap().to_vec())
        };
        let memory = |units, first| memory(units, first, of);
        let mut together = empty();
        assert!(together.insert(0, memory(4, 0)).unwrap());
        assert_eq!(together.places, 4 * UNIT, "the tensors themselves");
        assert!(together.insert(1, memory(2, 100)).unwrap());
        assert_eq!(together.places, 9 * UNIT);
        assert!(!together.insert(2, memory(3, 200)).unwrap());
        together.remove(1);
        assert!(!together.insert(3, memory(1, 300)).unwrap(), "where the second was");
        assert_eq!(together.first_place(3), 4 * UNIT);
        assert!(together.insert(4, memory(7, 400)).unwrap());
        for (document, units, first) in [(0, 4, 0), (2, 3, 200), (3, 1, 300), (4, 7, 400)] {
            assert!(stored(&together, document, units) == expected(units, first), "{document}");
        }
        for document in [0, 2, 3, 4] {
            together.remove(document);
        }
        assert!(together.insert(5, memory(2, 0)).unwrap());
        assert_eq!(together.places, 2 * UNIT);
        assert!(together.layers[0].is_finite());
        let infinite = tensor(2, HEAD_SIZE, 0, |_| f32::INFINITY);
        let key = tensor(2, KeyOrValue::Key.row::<T>(HEAD_SIZE), 0, of);
        let infinite = CrossKv::new(key, infinite).unwrap();
        assert!(!infinite.is_finite());
    }

    #[test]
    fn documents_lie_side_by_side_and_leave() {
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
    fn a_document_for_which_there_is_no_room_leaves_the_others_as_they_are() {
        crate::library::OnnxRuntime::load().unwrap();
        let mut first = memory(2, 0, |value| value);
        let integers = |row| -> DynTensor {
            let zeros = std::iter::repeat_n(0, HEADS * 2 * UNIT * row);
            filled::<i64>(&[1, HEADS, 2 * UNIT, row], zeros).unwrap().upcast()
        };
        // The second layer cannot be moved.
        let (key, value) = (integers(HEAD_SIZE), integers(UNIT));
        first.cross.push(CrossKv { key, value });
        let mut together = empty();
        assert!(together.insert(0, first).unwrap());
        assert!(together.insert(1, memory(2, 0, |value| value)).is_err());
        assert_eq!(together.layers.len(), 2);
        let places = |layer: &CrossKv| layer.key.shape()[2] as usize;
        assert!(together.layers.iter().all(|layer| places(layer) == together.places));
    }
}
