//! What either form of a file of `torch.save` holds.

use std::collections::HashMap;
use std::ops::Range;

use super::pickle::TensorSpec;

/// Tensors by name, and the bytes of the file that each storage takes, or what is wrong with it.
pub(super) type Contents =
    (Vec<(String, TensorSpec)>, HashMap<String, Result<Range<usize>, &'static str>>);

/// To follow the file's name.
pub(super) const BIG_ENDIAN: &str =
    "was written big-endian: save it again on a little-endian machine";
