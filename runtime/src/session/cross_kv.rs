//! Keys and values of the decoder's cross-attention: its memory of documents.

use std::fmt::Debug;

use half::f16;
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor, TensorElementType};

use super::tensors::allocate;
use crate::error::{Error, Result};

/// Keys and values of one layer's cross-attention: float32 or float16, as the graphs have them, of
/// `[documents, heads, padded source, head_size]` and `[documents, heads, padded source, row]`.
pub(super) struct CrossKv {
    pub(super) key: DynTensor,
    pub(super) value: DynTensor,
}

/// Calls a function made for what a tensor's elements are.
macro_rules! by_element {
    ($tensor:expr, $function:ident($($argument:expr),*)) => {
        match $tensor.data_type() {
            TensorElementType::Float16 => $function::<f16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}

impl CrossKv {
    /// Those of a document.
    ///
    /// # Errors
    ///
    /// When they are neither float32 nor float16.
    pub(super) fn new(key: DynTensor, value: DynTensor) -> Result<Self> {
        for tensor in [&key, &value] {
            let kind = *tensor.data_type();
            if !matches!(kind, TensorElementType::Float32 | TensorElementType::Float16) {
                let problem = format!("keys and values are {kind}, and not float32 or float16");
                return Err(Error::onnx_runtime("in the encoder", problem));
            }
        }
        Ok(Self { key, value })
    }

    /// Whether every key and value is a finite number.
    pub(super) fn is_finite(&self) -> bool {
        [&self.key, &self.value].into_iter().all(|tensor| by_element!(tensor, is_finite(tensor)))
    }

    /// Positions, padding included, where keys and values have as many.
    fn places(&self) -> Option<usize> {
        let [key, value] = [&self.key, &self.value].map(|tensor| tensor.shape().get(2).copied());
        key.filter(|_| key == value).and_then(|places| usize::try_from(places).ok())
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
#[derive(Default)]
pub(super) struct CrossMemory {
    pub(super) layers: Vec<CrossKv>,
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
    /// Takes in the memory of a document. Whether the tensors are others now.
    pub(super) fn insert(&mut self, document: usize, memory: SourceMemory) -> Result<bool> {
        let places = memory.places()?;
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
                by_element!(from, copy_places(from, 0, to, first, places))?;
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
        for layer in &mut self.layers {
            for tensor in [&mut layer.key, &mut layer.value] {
                *tensor = by_element!(tensor, moved_together(tensor, &self.stored, places))?;
            }
        }
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
    /// Places of every tensor.
    fn places(&self) -> Result<usize> {
        let mut layers = self.cross.iter().map(CrossKv::places);
        let first = layers.next().flatten();
        first
            .filter(|&first| first >= self.length && layers.all(|it| it == Some(first)))
            .ok_or_else(|| {
                Error::onnx_runtime("in the encoder", "keys and values are of different lengths")
            })
    }
}

/// A kept number.
trait Element: PrimitiveTensorElementType + Copy + Default + Debug + Into<f32> + 'static {}
impl Element for f32 {}
impl Element for f16 {}

fn elements<T: Element>(tensor: &DynTensor) -> Result<&[T]> {
    let extracted = tensor.try_extract_tensor::<T>();
    let failed = |error| Error::onnx_runtime("reading keys and values", error);
    let (_, elements) = extracted.map_err(failed)?;
    Ok(elements)
}

fn is_finite<T: Element>(tensor: &DynTensor) -> bool {
    let finite = |&number: &T| -> bool { number.into().is_finite() };
    elements::<T>(tensor).is_ok_and(|numbers| numbers.iter().all(finite))
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

    /// `[1, 2, length, 3]`, from `first` on.
    fn tensor<T: Element>(length: usize, first: usize, of: fn(f32) -> T) -> DynTensor {
        let values = (0..2 * length * 3).map(|index| of((first + index) as f32));
        filled(&[1, 2, length, 3], values).unwrap().upcast()
    }

    fn check<T: Element + PartialEq>(of: fn(f32) -> T) {
        let memory = |length, first| SourceMemory {
            cross: vec![
                CrossKv::new(tensor(length, first, of), tensor(length, first + 500, of)).unwrap(),
            ],
            length,
        };
        let number = |value: &T| -> f32 { (*value).into() };
        let stored = |memory: &CrossMemory, document, length: usize| -> Vec<Vec<f32>> {
            let first = memory.first_place(document) * 6;
            let [layer] = memory.layers.as_slice() else { panic!("one layer") };
            let numbers = |tensor| elements::<T>(tensor).unwrap()[first..][..length * 6].iter();
            [&layer.key, &layer.value].map(|it| numbers(it).map(number).collect()).to_vec()
        };
        let range = |from: usize, count: usize| -> Vec<f32> {
            (from..from + count).map(|value| value as f32).collect()
        };
        let expected =
            |length: usize, first| vec![range(first, length * 6), range(first + 500, length * 6)];
        let mut together = CrossMemory::default();
        assert!(together.insert(0, memory(4, 0)).unwrap());
        assert_eq!(together.places, 4, "the tensors themselves");
        assert!(together.insert(1, memory(2, 100)).unwrap());
        assert_eq!(together.places, 9);
        assert!(!together.insert(2, memory(3, 200)).unwrap());
        together.remove(1);
        assert!(!together.insert(3, memory(1, 300)).unwrap(), "where the second was");
        assert_eq!(together.first_place(3), 4);
        assert!(together.insert(4, memory(7, 400)).unwrap());
        for (document, length, first) in [(0, 4, 0), (2, 3, 200), (3, 1, 300), (4, 7, 400)] {
            assert_eq!(stored(&together, document, length), expected(length, first));
        }
        for document in [0, 2, 3, 4] {
            together.remove(document);
        }
        assert!(together.insert(5, memory(2, 0)).unwrap());
        assert_eq!(together.places, 2);
        assert!(together.layers[0].is_finite());
        let infinite = CrossKv::new(tensor(2, 0, of), tensor(2, 0, |_| f32::INFINITY)).unwrap();
        assert!(!infinite.is_finite());
    }

    #[test]
    fn documents_lie_side_by_side_and_leave() {
        crate::library::OnnxRuntime::load().unwrap();
        check::<f32>(|value| value);
        check::<f16>(f16::from_f32);
        let integers: Tensor<i64> = filled(&[1], [1]).unwrap();
        let floats = tensor(1, 0, |value| value);
        let Err(error) = CrossKv::new(floats, integers.upcast()) else {
            panic!("integers are refused");
        };
        assert!(error.to_string().contains("not float32 or float16"), "{error}");
    }
}
