//! Contents of a file of `torch.save`, in either format.

use std::collections::HashMap;
use std::ops::Range;

use super::pickle::TensorSpec;

/// Tensors by name, and the byte range of each storage or what is wrong with it.
pub(super) type Contents =
    (Vec<(String, TensorSpec)>, HashMap<String, Result<Range<usize>, &'static str>>);

/// Error for big-endian files, without the file name before it.
pub(super) const BIG_ENDIAN: &str =
    "was written big-endian: save it again on a little-endian machine";
