//! The precision of a bundle's weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Precision of the linear layers and embedding tables of a bundle. Keys and values of the
/// decoder's cross-attention are float32, float16 or, in int8 and int4 bundles, int8. All other
/// tensors are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Fp32,
    /// float16. It is converted to float32 for multiplications.
    Fp16,
    /// 8-bit integers with a scale for each output. Activations are quantized too, by row.
    Int8,
    /// 4-bit integers in blocks, with a scale and a minimum for each block. Embedding tables are as
    /// in int8.
    Int4,
}

impl Precision {
    /// Every precision, most precise first.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Int8, Self::Int4];

    /// Whether the encoder's attention may split its float32 factors into bfloat16, which drops
    /// some bits. See [`SPLIT`](crate::operators::attention::SPLIT).
    pub fn splits_attention(self) -> bool {
        self != Self::Fp32
    }

    /// Whether the encoder's attention may round its factors to integers of 12 bits and more. The
    /// linear layers of these precisions round to 7 bits anyway. See
    /// [`ROUND`](crate::operators::attention::ROUND).
    pub fn rounds_attention(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// The name on the command line and in the manifest.
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
