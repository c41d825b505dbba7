//! The layout of packed weights, which is the same for every processor.
//!
//! A weight matrix of `[out, in]` is cut into panels of [`PANEL`] outputs. Within a panel the
//! inputs are in groups of four: for each group, the four weights of every output in turn. The 64
//! bytes of a group of int8 weights are one AVX-512 register, two AVX2 registers or four NEON
//! registers, in the order that the multiply-add instructions need. Outputs and inputs that do not
//! fill the last panel or block are zeros.

/// Outputs of a panel.
pub const PANEL: usize = 16;
/// Inputs of an output that lie side by side.
pub(crate) const GROUP: usize = 4;
/// Activations of a row that lie side by side for an instruction that multiplies matrices: sixteen
/// groups.
pub(crate) const MATRIX_GROUP: usize = 16 * GROUP;
/// The number of padded inputs is a multiple of this. The AVX2 kernel reads two groups at once.
pub(crate) const BLOCK: usize = 2 * GROUP;

/// Inputs of a packed matrix, padding included.
pub const fn padded_inputs(size_in: usize) -> usize {
    size_in.next_multiple_of(BLOCK)
}

/// Panels of a packed matrix.
pub const fn panels(size_out: usize) -> usize {
    size_out.div_ceil(PANEL)
}

/// Shape of the packed tensor of a `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 4] {
    [panels(size_out), padded_inputs(size_in) / GROUP, PANEL, GROUP]
}

/// Index of weight `[output, input]` within its panel. `output` counts from the panel's first.
pub const fn position(output: usize, input: usize) -> usize {
    (input / GROUP * PANEL + output) * GROUP + input % GROUP
}
