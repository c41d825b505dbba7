//! Position tables.

/// The sinusoidal table of `[positions, hidden]` that PEGASUS and Marian compute: sines in the first
/// half of a row, cosines in the second (not interleaved).
///
/// Agrees with `PegasusSinusoidalPositionalEmbedding` in
/// `transformers/models/pegasus/modeling_pegasus.py`, which computes in float64 and rounds once.
pub fn sinusoidal(positions: usize, hidden: usize) -> Vec<f32> {
    let sines = hidden.div_ceil(2);
    let angle = |position: usize, index: usize| {
        position as f64 / 10_000f64.powf(2.0 * (index / 2) as f64 / hidden as f64)
    };
    let mut table = Vec::with_capacity(positions * hidden);
    for position in 0..positions {
        // Columns of the angle matrix alternate: even ones go to the sines, odd ones to the cosines.
        table.extend((0..sines).map(|column| angle(position, 2 * column).sin() as f32));
        table
            .extend((0..hidden - sines).map(|column| angle(position, 2 * column + 1).cos() as f32));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::sinusoidal;

    #[test]
    fn the_first_row_is_zeros_then_ones_and_odd_sizes_have_one_sine_more() {
        assert_eq!(sinusoidal(1, 5), [0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_row_holds_sines_then_cosines_of_falling_frequency() {
        let row = &sinusoidal(4, 4)[12..];
        let (fast, slow) = (3f64, 3f64 / 100.0);
        assert_eq!(
            row,
            [
                fast.sin() as f32,
                slow.sin() as f32,
                fast.cos() as f32,
                slow.cos() as f32
            ]
        );
    }
}
