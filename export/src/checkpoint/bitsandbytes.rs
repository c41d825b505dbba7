//! Weights that bitsandbytes quantized, as QLoRA and `load_in_8bit` jobs save them.
//!
//! With 8 bits (`Linear8bitLt`) each row of a matrix has one scale, in the tensor `SCB`. With 4
//! bits (`Linear4bit`) each block of consecutive weights has one scale, in `absmax`, and codes are
//! indices into the table `quant_map`. The scales may be quantized in the same way. See
//! `dequantize_4bit` and `QuantState` in `bitsandbytes/functional.py`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::stored::{Files, Stored};
use super::strided::{DType, StridedView};
use crate::Result;

/// Number of weights that are converted at a time.
const PIECE: usize = 1 << 18;

/// Suffix of the tensor that describes the blocks of `NAME.weight`, before the kind of codes.
const STATE: &str = ".quant_state.bitsandbytes__";

/// Limit in bytes of the description.
const MAX_STATE: usize = 1 << 16;

/// A quantized tensor, and the locations of its parts.
#[expect(clippy::large_enum_variant, reason = "one is alive at a time, while its tensor streams")]
pub(super) enum Quantized {
    Int8 {
        codes: Stored,
        row_scales: Stored,
    },
    Int4 {
        codes: Stored,
        scales: Stored,
        table: Stored,
        nested: Option<Nested>,
        state: State,
        dtype: DType,
    },
}

/// Parts of quantized scales, beside their codes.
pub(super) struct Nested {
    table: Stored,
    scales: Stored,
    block: usize,
    offset: f32,
}

/// JSON that bitsandbytes writes about a 4-bit tensor.
#[derive(Deserialize)]
pub(super) struct State {
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

/// Removes the parts of quantized tensors from `tensors`, and returns those tensors by name.
pub(super) fn collect(
    tensors: &mut BTreeMap<String, Stored>,
    files: &Files,
) -> Result<BTreeMap<String, Quantized>> {
    let mut found = BTreeMap::new();
    let with = |suffix: &str, tensors: &BTreeMap<String, Stored>| -> Vec<(String, String)> {
        let names = tensors.keys();
        let found =
            names.filter_map(|name| Some((name.clone(), name.split_once(suffix)?.0.into())));
        found.collect()
    };
    for (scales, module) in with(".SCB", tensors) {
        let name = format!("{module}.weight");
        let Some(codes) = tensors.remove(&name) else {
            continue;
        };
        let row_scales = tensors.remove(&scales).expect("a name that was listed");
        tensors.remove(&format!("{module}.weight_format"));
        let quantized = int8(codes, row_scales)
            .map_err(|(stored, problem)| files.bad_tensor(&stored, &name, problem))?;
        found.insert(name, quantized);
    }
    for (state, name) in with(STATE, tensors) {
        let Some(codes) = tensors.remove(&name) else {
            continue;
        };
        let state = tensors.remove(&state).expect("a name that was listed");
        let mut part = |suffix: &str| tensors.remove(&format!("{name}.{suffix}"));
        let parts =
            [part("absmax"), part("quant_map"), part("nested_absmax"), part("nested_quant_map")];
        let file = codes.clone();
        let quantized = int4(codes, &state, parts, files)
            .map_err(|problem| files.bad_tensor(&file, &name, problem))?;
        found.insert(name, quantized);
    }
    Ok(found)
}

fn int8(codes: Stored, row_scales: Stored) -> Result<Quantized, (Stored, String)> {
    let (shape, scales) = (codes.layout().shape(), row_scales.layout());
    let fits = codes.layout().dtype() == DType::I8
        && scales.dtype().is_float()
        && matches!(shape, [rows, _] if scales.shape() == [*rows]);
    if fits {
        return Ok(Quantized::Int8 { codes, row_scales });
    }
    let problem = format!(
        "is quantized to 8 bits with the shape {shape:?} and scales of the shape {:?}, \
         where each row has one",
        scales.shape()
    );
    Err((codes, problem))
}

/// Makes a 4-bit tensor from its parts: scales, table, and the parts of quantized scales.
fn int4(
    codes: Stored,
    state: &Stored,
    [scales, table, nested_scales, nested_table]: [Option<Stored>; 4],
    files: &Files,
) -> Result<Quantized, String> {
    let state = files
        .view(state)
        .contiguous_bytes()
        .filter(|bytes| bytes.len() <= MAX_STATE)
        .and_then(|bytes| serde_json::from_slice::<State>(bytes).ok())
        .ok_or("has a quant_state that bitsandbytes did not write")?;
    let dtype = match state.dtype.as_str() {
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        other => return Err(format!("is quantized from the unknown type {other:?}")),
    };
    let (Some(scales), Some(table)) = (scales, table) else {
        return Err("lacks its absmax or quant_map".to_owned());
    };
    let len = |stored: &Stored| stored.layout().len();
    let count = state.shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let count = count.filter(|_| state.shape.len() == 2 && state.blocksize > 0);
    let blocks = count.map(|count| count.div_ceil(state.blocksize));
    let fits = count.map(|count| count.div_ceil(2)) == Some(len(&codes))
        && codes.layout().dtype() == DType::U8
        && blocks == Some(len(&scales))
        && len(&table) == 16
        && table.layout().dtype().is_float();
    let nested = match (nested_scales, nested_table, state.nested_blocksize) {
        (Some(scales), Some(table), Some(block)) if block > 0 => {
            Some(Nested { table, scales, block, offset: state.nested_offset.unwrap_or(0.0) })
        }
        _ => None,
    };
    let scales_fit = match &nested {
        None => scales.layout().dtype().is_float(),
        Some(nested) => {
            scales.layout().dtype() == DType::U8
                && len(&nested.table) == 256
                && blocks.map(|blocks| blocks.div_ceil(nested.block)) == Some(len(&nested.scales))
        }
    };
    let contiguous = [&codes, &scales].map(|part| files.view(part).contiguous_bytes().is_some());
    if fits && scales_fit && contiguous == [true; 2] {
        return Ok(Quantized::Int4 { codes, scales, table, nested, state, dtype });
    }
    Err(format!(
        "is quantized to 4 bits from the shape {:?} in blocks of {}, which its {} bytes and {} \
         scales do not fit",
        state.shape,
        state.blocksize,
        len(&codes),
        len(&scales)
    ))
}

impl Quantized {
    /// The tensor, with its parts in the mapped files.
    pub(super) fn view<'a>(&'a self, files: &'a Files) -> QuantizedView<'a> {
        let bytes = |stored| {
            let view: StridedView<'a> = files.view(stored);
            view.contiguous_bytes().expect("checked when it was found")
        };
        match self {
            Self::Int8 { codes, row_scales } => {
                QuantizedView::Int8 { codes: files.view(codes), row_scales: files.view(row_scales) }
            }
            Self::Int4 { codes, scales, table, nested, state, dtype } => QuantizedView::Int4 {
                codes: bytes(codes),
                scales: match nested {
                    None => BlockScales::Plain(files.view(scales)),
                    Some(nested) => BlockScales::Nested {
                        codes: bytes(scales),
                        table: files.view(&nested.table),
                        scales: files.view(&nested.scales),
                        block: nested.block,
                        offset: nested.offset,
                    },
                },
                table: files.view(table),
                block: state.blocksize,
                dtype: *dtype,
                shape: &state.shape,
            },
        }
    }
}

/// A quantized tensor. The sizes of its parts are checked.
#[derive(Clone, Debug)]
pub(super) enum QuantizedView<'a> {
    /// Rows of `int8`.
    Int8 {
        /// Codes, `[rows, columns]`.
        codes: StridedView<'a>,
        /// Largest magnitude of each row.
        row_scales: StridedView<'a>,
    },
    /// Blocks of four bits.
    Int4 {
        /// Codes, two in a byte, the first in the high half.
        codes: &'a [u8],
        scales: BlockScales<'a>,
        /// Value of each code.
        table: StridedView<'a>,
        block: usize,
        /// Type that values are rounded to.
        dtype: DType,
        shape: &'a [usize],
    },
}

/// Largest magnitude of each block.
#[derive(Clone, Debug)]
pub(super) enum BlockScales<'a> {
    Plain(StridedView<'a>),
    Nested {
        /// Code of each scale.
        codes: &'a [u8],
        /// Value of each code.
        table: StridedView<'a>,
        scales: StridedView<'a>,
        block: usize,
        offset: f32,
    },
}

impl BlockScales<'_> {
    fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Plain(scales) => scales.to_f32(),
            Self::Nested { codes, table, scales, block, offset } => {
                let (table, scales) = (table.to_f32(), scales.to_f32());
                let blocks = codes.chunks(*block).zip(scales);
                blocks
                    .flat_map(|(codes, scale)| {
                        let table = &table;
                        codes.iter().map(move |&code| table[usize::from(code)] * scale + offset)
                    })
                    .collect()
            }
        }
    }
}

impl<'a> QuantizedView<'a> {
    pub(super) fn shape(&self) -> &'a [usize] {
        match self {
            Self::Int8 { codes, .. } => codes.shape(),
            Self::Int4 { shape, .. } => shape,
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Int8 { codes, .. } => codes.dtype(),
            Self::Int4 { .. } => DType::U8,
        }
    }

    /// Passes all elements in row-major order to `out`, piece by piece.
    pub(super) fn stream<X>(&self, out: &mut dyn FnMut(&[f32]) -> Result<(), X>) -> Result<(), X> {
        match self {
            Self::Int8 { codes, row_scales } => {
                let columns = codes.shape()[1];
                let scales = row_scales.to_f32();
                let mut at = 0;
                let mut values = Vec::new();
                codes.stream(&mut |piece| {
                    values.clear();
                    values.extend(piece.iter().enumerate().map(|(offset, code)| {
                        code * scales[(at + offset) / columns] * (1.0 / 127.0)
                    }));
                    at += piece.len();
                    out(&values)
                })
            }
            Self::Int4 { codes, scales, table, block, dtype, .. } => {
                let (scales, table) = (scales.to_f32(), table.to_f32());
                let count: usize = self.shape().iter().product();
                let mut values = Vec::new();
                for start in (0..count).step_by(PIECE) {
                    values.clear();
                    values.extend((start..count.min(start + PIECE)).map(|at| {
                        let byte = codes[at / 2];
                        let code = if at % 2 == 0 { byte >> 4 } else { byte & 0xf };
                        round(table[usize::from(code)] * scales[at / block], *dtype)
                    }));
                    out(&values)?;
                }
                Ok(())
            }
        }
    }
}

fn round(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => half::f16::from_f32(value).to_f32(),
        DType::BF16 => half::bf16::from_f32(value).to_f32(),
        _ => value,
    }
}
