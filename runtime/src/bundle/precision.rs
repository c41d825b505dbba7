//! How precisely a bundle holds its weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Precision of the matrices of a bundle: linear layers and embedding tables. Everything else,
/// which is little, is float32, but for keys and values of the decoder's cross-attention: these are
/// float32, float16 or, in the two precisions of integers, integers of 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Fp32,
    /// float16, widened to float32 where it is multiplied.
    Fp16,
    /// 8-bit integers, with a scale for each output; activations are rounded too, row by row.
    Int8,
    /// 4-bit integers in blocks, with a scale and a least value for each; tables of tokens as in
    /// int8.
    Int4,
}

impl Precision {
    /// Every precision, most precise first.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Int8, Self::Int4];

    /// Whether the encoder's attention may split its factors, where a processor is quicker with the
    /// parts. (In float32 bundles a factor keeps all its bits.)
    pub fn splits_attention(self) -> bool {
        self != Self::Fp32
    }

    /// Whether the encoder's attention may round its factors to integers of 12 bits and more: where
    /// the layers before and behind it round to 7 bits.
    pub fn rounds_attention(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// Its name on the command line and in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("'{name}' is not a precision: choose one of {known}")
        })
    }
}
