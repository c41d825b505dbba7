//! How a matrix is packed, panel by panel.

use epitome_kernels::panels::PANEL;

/// How packed weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are.
    Fp32,
    /// Rounded to half precision.
    Fp16,
    /// Integers of 8 bits.
    Int8,
    /// Integers of 4 bits.
    Int4,
}

/// Packs a matrix of `[size_out, size_in]`, panel by panel.
pub trait Packing {
    /// How weights are stored.
    fn format(&self) -> Format;

    /// Bits that activations are rounded to before they are multiplied, where `wanted` are as good
    /// as any; nothing where they are not rounded.
    fn activation_bits(&self, wanted: i64) -> Option<i64>;

    /// Whether weights are rounded by what they are multiplied with; nothing where they need not
    /// be.
    fn is_calibrated(&self) -> Option<bool> {
        None
    }

    /// The greatest magnitude of a weight that it can hold.
    fn limit(&self) -> f32 {
        f32::MAX
    }

    /// The shape of the packed tensor.
    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize>;

    /// Appends the next panel to `packed`: `rows` are [`PANEL`] outputs of `size_in` weights each,
    /// in the last panel zeros behind the matrix.
    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>);

    /// What the operators need beside the weights once all panels are packed: float32 of
    /// `[_, padded size_out]`, or nothing.
    fn columns(&self) -> Vec<f32>;
}

/// Cuts a stream of weights in row-major order into panels, and packs them.
pub struct Packer<'p> {
    packing: &'p mut dyn Packing,
    size_in: usize,
    rows: Vec<f32>,
    packed: Vec<u8>,
}

impl<'p> Packer<'p> {
    /// A packer for rows of `size_in` weights.
    pub fn new(packing: &'p mut dyn Packing, size_in: usize) -> Self {
        Self { packing, size_in, rows: Vec::with_capacity(PANEL * size_in), packed: Vec::new() }
    }

    /// Takes the next weights, and hands whole panels to `sink`.
    pub fn take<E>(
        &mut self,
        mut values: &[f32],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !values.is_empty() {
            let missing = PANEL * self.size_in - self.rows.len();
            let (now, later) = values.split_at(missing.min(values.len()));
            self.rows.extend_from_slice(now);
            values = later;
            if self.rows.len() == PANEL * self.size_in {
                self.flush(sink)?;
            }
        }
        Ok(())
    }

    /// Hands over the last panel.
    pub fn finish<E>(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.rows.is_empty() {
            self.rows.resize(PANEL * self.size_in, 0.0);
            self.flush(sink)?;
        }
        Ok(())
    }

    fn flush<E>(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.packed.clear();
        self.packing.panel(&self.rows, self.size_in, &mut self.packed);
        self.rows.clear();
        sink(&self.packed)
    }
}
