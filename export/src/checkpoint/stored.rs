//! Mapped weights files, and the locations of tensors in them.

use std::path::Path;

use super::files::Format;
use super::mapped::Mapped;
use super::strided::{DType, Layout, Located, StridedView};
use super::{flax, safetensors, torch};
use crate::{Error, Result};

/// The location of a tensor: one of the mapped files, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    file: usize,
    located: Located,
}

impl Stored {
    /// Type and shape.
    pub(crate) fn layout(&self) -> &Layout {
        &self.located.layout
    }

    /// The matrix with its axes swapped.
    pub(crate) fn transposed(mut self) -> Self {
        self.located.layout = self.located.layout.transposed();
        self
    }
}

/// Mapped files, each with its name for messages.
#[derive(Default)]
pub(super) struct Files(Vec<(String, Mapped)>);

impl Files {
    /// Maps one more file, and returns its tensors.
    pub(super) fn read(
        &mut self,
        root: &Path,
        name: &str,
        format: Format,
    ) -> Result<Vec<(String, Stored)>> {
        let mapped = Mapped::open(&root.join(name), name)?;
        let found = match format {
            Format::Safetensors => safetensors::read(name, mapped.bytes())?,
            Format::Torch => torch::read(name, mapped.bytes())?,
            Format::Flax => flax::read(name, mapped.bytes())?,
        };
        let file = self.0.len();
        self.0.push((name.to_owned(), mapped));
        let stored = |located| Stored { file, located };
        Ok(found.into_iter().map(|(name, located)| (name, stored(located))).collect())
    }

    /// Adds a computed tensor.
    pub(super) fn add(&mut self, name: &str, shape: Vec<usize>, values: &[f32]) -> Stored {
        let layout = Layout::contiguous(DType::F32, shape).expect("a shape of values that exist");
        self.0.push((name.to_owned(), Mapped::of(values)));
        Stored { file: self.0.len() - 1, located: Located { layout, start: 0 } }
    }

    /// The tensor at this location.
    pub(super) fn view<'a>(&'a self, stored: &'a Stored) -> StridedView<'a> {
        let Located { layout, start } = &stored.located;
        let bytes = &self.0[stored.file].1.bytes()[*start..*start + layout.span_bytes()];
        StridedView::new(layout, bytes)
    }

    /// An error about a tensor in the file of `stored`.
    pub(super) fn bad_tensor(&self, stored: &Stored, name: &str, problem: String) -> Error {
        Error::BadTensor { file: self.0[stored.file].0.clone(), name: name.to_owned(), problem }
    }
}
