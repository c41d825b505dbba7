//! The one layout of packed weights, for every processor.
//!
//! A weight matrix of `[out, in]` is cut into panels of [`PANEL`] outputs. Within a panel the
//! inputs come in groups of [`GROUP`]: for each group, [`GROUP`] consecutive weights of every
//! output in turn. The 64 bytes of a group of int8 weights are one AVX-512 register, two of AVX2,
//! four of NEON, each holding what its multiply-add instruction wants. Outputs and inputs that do
//! not fill the last panel or block are zeros.

/// Outputs of a panel.
pub const PANEL: usize = 16;
/// Inputs of an output that lie side by side.
pub const GROUP: usize = 4;
/// Activations of a row that lie side by side where an instruction multiplies matrices: sixteen
/// groups.
pub const MATRIX_GROUP: usize = 16 * GROUP;
/// Inputs come in multiples of this: two groups, which the AVX2 kernel takes at once.
pub const BLOCK: usize = 2 * GROUP;

/// Inputs of a packed matrix, padding included.
pub const fn padded_inputs(size_in: usize) -> usize {
    size_in.next_multiple_of(BLOCK)
}

/// Panels of a packed matrix.
pub const fn panels(size_out: usize) -> usize {
    size_out.div_ceil(PANEL)
}

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 4] {
    [panels(size_out), padded_inputs(size_in) / GROUP, PANEL, GROUP]
}

/// Where weight `[output, input]` stands within its panel, `output` counted from the panel's first.
pub const fn position(output: usize, input: usize) -> usize {
    (input / GROUP * PANEL + output) * GROUP + input % GROUP
}
