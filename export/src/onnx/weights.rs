//! The external-data file: all weights of a bundle, each written once, as a stream.
//!
//! ONNX Runtime maps this file. A large tensor starts on a page boundary, and a tensor of two
//! graphs (the tied embedding) is stored once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::proto::{DataLocation, ElementType, StringStringEntryProto, TensorProto};
use crate::error::{Error, Result};

/// Alignment of large tensors: the page size that memory mapping needs on common systems.
const PAGE: u64 = 4096;
/// Alignment of small tensors: a cache line.
const LINE: u64 = 64;

/// Location and type of a tensor in the file, for an initializer.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    element_type: ElementType,
    dims: Vec<usize>,
    offset: u64,
    length: u64,
    file_name: String,
}

impl StoredTensor {
    /// An initializer called `name` with data in the file.
    pub(super) fn initializer(&self, name: &str) -> TensorProto {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        TensorProto {
            dims: self.dims.iter().map(|&dim| dim as i64).collect(),
            data_type: self.element_type as i32,
            name: name.into(),
            raw_data: None,
            doc_string: String::new(),
            external_data: vec![
                entry("location", self.file_name.clone()),
                entry("offset", self.offset.to_string()),
                entry("length", self.length.to_string()),
            ],
            data_location: DataLocation::External as i32,
        }
    }
}

/// Size of a write, at multiples of itself. Linux caches written data in pages as large as the
/// writes. Steps over weights that are mapped from large pages take a quarter less time (measured
/// on Linux 6.18, ext4).
const CHUNK: usize = 8 << 20;

/// The file being written. Its digest is computed meanwhile, so that nothing is read again.
pub(crate) struct WeightFile {
    path: PathBuf,
    name: String,
    file: File,
    /// Data of the next write: less than a [`CHUNK`].
    chunk: Vec<u8>,
    digest: Sha256,
    position: u64,
    stored: HashMap<String, StoredTensor>,
}

impl WeightFile {
    /// Creates the file `name` in `folder`.
    pub(crate) fn create(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let file = File::create(&path).map_err(|source| Error::io(&path, source))?;
        Ok(Self {
            path,
            name: name.into(),
            file,
            chunk: Vec::with_capacity(CHUNK),
            digest: Sha256::new(),
            position: 0,
            stored: HashMap::new(),
        })
    }

    /// The tensor stored under `key`, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<&StoredTensor> {
        self.stored.get(key)
    }

    /// Stores a float32 tensor of shape `dims` under `key`. `fill` passes its values in row-major
    /// order, in any number of pieces.
    pub(crate) fn store_f32(
        &mut self,
        key: &str,
        dims: &[usize],
        fill: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>,
    ) -> Result<StoredTensor> {
        let mut bytes = Vec::new();
        self.store(key, ElementType::Float, dims, |sink| {
            fill(&mut |values| {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                sink(&bytes)
            })
        })
    }

    /// Stores a tensor under `key`. `fill` passes its bytes.
    pub(crate) fn store(
        &mut self,
        key: &str,
        element_type: ElementType,
        dims: &[usize],
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<StoredTensor> {
        let expected = (dims.iter().product::<usize>() * element_type.size()) as u64;
        self.align(if expected >= PAGE { PAGE } else { LINE })?;
        let offset = self.position;
        fill(&mut |bytes| self.write(bytes))?;
        let length = self.position - offset;
        assert_eq!(length, expected, "tensor '{key}' of shape {dims:?} was filled in part");
        let tensor = StoredTensor {
            element_type,
            dims: dims.to_vec(),
            offset,
            length,
            file_name: self.name.clone(),
        };
        self.stored.insert(key.into(), tensor.clone());
        Ok(tensor)
    }

    /// Ends the file. Returns `(bytes, sha256 in hexadecimal)`.
    pub(crate) fn finish(mut self) -> Result<(u64, String)> {
        let written = self.file.write_all(&self.chunk);
        written
            .and_then(|()| self.file.sync_all())
            .map_err(|source| Error::io(&self.path, source))?;
        Ok((self.position, epitome_runtime::bundle::digest::hex(&self.digest.finalize())))
    }

    fn align(&mut self, boundary: u64) -> Result<()> {
        let padding = self.position.next_multiple_of(boundary) - self.position;
        self.write(&vec![0; padding as usize])
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.position += bytes.len() as u64;
        while self.chunk.len() + bytes.len() >= CHUNK {
            let (now, rest) = bytes.split_at(CHUNK - self.chunk.len());
            self.chunk.extend_from_slice(now);
            self.file.write_all(&self.chunk).map_err(|source| Error::io(&self.path, source))?;
            self.chunk.clear();
            bytes = rest;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }
}
