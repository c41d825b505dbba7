//! The interface of weight formats: packs a matrix panel by panel.

use epitome_kernels::panels::PANEL;

/// Format of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// float32.
    Fp32,
    /// float16.
    Fp16,
    /// 8-bit integers.
    Int8,
    /// 4-bit integers.
    Int4,
}

/// Packs a matrix of `[size_out, size_in]`, panel by panel.
pub trait Packing {
    /// Format of the packed weights.
    fn format(&self) -> Format;

    /// Bits that the operators round activations to: `wanted`, unless the weights need another
    /// number. `None` if activations are not rounded.
    fn activation_bits(&self, wanted: i64) -> Option<i64>;

    /// Whether calibration data was used; `None` if the format does not use any.
    fn is_calibrated(&self) -> Option<bool> {
        None
    }

    /// Largest magnitude of a weight that the format can hold.
    fn limit(&self) -> f32 {
        f32::MAX
    }

    /// The shape of the packed tensor.
    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize>;

    /// Appends the next panel to `packed`. `rows` are [`PANEL`] outputs of `size_in` weights each;
    /// in the last panel, rows beyond the matrix are zero.
    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>);

    /// Data of the columns, once all panels are packed: float32 `[_, padded size_out]`, or empty.
    fn columns(&self) -> Vec<f32>;
}

/// Divides a stream of weights in row-major order into panels, and packs them.
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

    /// Adds the next weights, and passes complete panels to `sink`.
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

    /// Passes the last panel to `sink`.
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
