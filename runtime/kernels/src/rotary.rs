//! Rotary position embedding: pairs of the values of a head are rotated by an angle that grows with
//! the position. (Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".)

use crate::parallel::{Disjoint, ThreadPool, parallel_for};

/// Rows of a task.
const ROWS_PER_TASK: usize = 16;

/// Rotates the heads of `x`, `[rows, heads * size]`, and writes them to `rotated`. The two values
/// of a pair are half a head apart. `sinusoids`, `[tokens, size]`, holds for each position the
/// sines of its angles, then the cosines. Row `r` is at position `r % tokens`.
///
/// # Panics
///
/// When `rotated` is shorter than `x`, or `sinusoids` holds no position.
pub fn rotate<P: ThreadPool>(
    pool: &P,
    x: &[f32],
    hidden: usize,
    (sinusoids, size): (&[f32], usize),
    rotated: &mut [f32],
) -> Result<(), P::Error> {
    let (rows, tokens) = (x.len() / hidden, sinusoids.len() / size);
    let rotated = Disjoint::new(rotated);
    parallel_for(pool, rows, ROWS_PER_TASK, 2 * x.len(), |rows| {
        for row in rows {
            let (sines, cosines) = sinusoids[row % tokens * size..][..size].split_at(size / 2);
            let range = row * hidden..(row + 1) * hidden;
            // SAFETY: only this task writes the row.
            let rotated = unsafe { rotated.part(range.clone()) };
            let heads = x[range].chunks_exact(size).zip(rotated.chunks_exact_mut(size));
            for (head, rotated) in heads {
                let (first, second) = head.split_at(size / 2);
                let (to_first, to_second) = rotated.split_at_mut(size / 2);
                for index in 0..size / 2 {
                    let (sine, cosine) = (sines[index], cosines[index]);
                    to_first[index] = first[index] * cosine - second[index] * sine;
                    to_second[index] = second[index] * cosine + first[index] * sine;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::SingleThread;

    #[test]
    fn pairs_half_a_head_apart_turn_by_the_angles_of_their_position() {
        let angles = [[0.0_f32, 0.0], [0.5, 2.0]];
        let sinusoids: Vec<f32> = angles
            .iter()
            .flat_map(|angles| [angles.map(f32::sin), angles.map(f32::cos)].concat())
            .collect();
        // Three rows of two heads of four values, at the positions 0, 1 and 0.
        let x: Vec<f32> = (0..24).map(|index| index as f32 - 11.0).collect();
        let mut rotated = vec![f32::NAN; 24];
        let Ok(()) = rotate(&SingleThread, &x, 8, (&sinusoids, 4), &mut rotated);
        assert_eq!(rotated[..8], x[..8]);
        assert_eq!(rotated[16..], x[16..]);
        for head in [8, 12] {
            for (index, angle) in angles[1].into_iter().enumerate() {
                let (a, b) = (x[head + index], x[head + index + 2]);
                assert_eq!(rotated[head + index], a * angle.cos() - b * angle.sin());
                assert_eq!(rotated[head + index + 2], b * angle.cos() + a * angle.sin());
            }
        }
    }
}
