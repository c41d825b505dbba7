//! Fuzzes the readers of files from untrusted sources. Each case must give an answer or an error,
//! without a panic, in bounded time and memory, and must write nothing beside the target.
//!
//! Each target runs for `EPITOME_FUZZ_SECONDS` (1 by default), with seeds from `EPITOME_FUZZ_SEED`
//! on. A failure names its seed, which repeats it:
//!
//! ```text
//! EPITOME_FUZZ_SECONDS=600 cargo test -p epitome-export fuzz::archive -- --nocapture
//! EPITOME_FUZZ_SECONDS=0 EPITOME_FUZZ_SEED=17 cargo test -p epitome-export fuzz::archive
//! ```
//!
//! Address space that is allocated and never touched shows only under a limit: put
//! `prlimit --as=3000000000` before the test binary.

mod adapter;
mod archive;
mod bundle;
mod sentencepiece;
mod tokenizer_json;
pub(crate) mod weights;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Time limit of a case, ten times what cases take on an idle machine.
const LONGEST: Duration = Duration::from_secs(30);
/// Memory limit of the whole run, in KiB.
const MAX_MEMORY: u64 = 1 << 20;

/// Result of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answer,
    Refusal,
}

/// Random numbers of one case.
struct Random(TestRng);

impl Random {
    fn of(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A random size: mostly small, sometimes beyond every limit.
    fn size(&mut self) -> u64 {
        match self.below(12) {
            0 => self.number(),
            1 => u64::MAX >> self.below(64),
            2 => 1 << self.below(64),
            3 => (1 << 20) + self.number() % (1 << 24),
            _ => self.number() % 9,
        }
    }

    /// Damages `bytes` anywhere: other values, or a part that is lost, repeated or moved.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(5) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let length = self.below((bytes.len() - at).min(40) + 1);
            match self.below(10) {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = 0,
                2 | 3 => bytes[at] ^= 1 << self.below(8),
                4 => bytes[at] = self.below(256) as u8,
                5 => bytes.truncate(at),
                6 => drop(bytes.drain(at..at + length)),
                7 => {
                    let part = bytes[at..at + length].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                8 => {
                    let number = self.size().to_le_bytes();
                    let length = length.min(number.len());
                    bytes[at..at + length].copy_from_slice(&number[..length]);
                }
                _ => bytes[at] = bytes[at].wrapping_add(1),
            }
        }
    }
}

/// Runs `case` with one seed after another, until the time is over.
fn run(case: impl Fn(&mut Random) -> End) {
    let option = |name, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect("a whole number"),
        Err(_) => default,
    };
    let time = Duration::from_secs(option("EPITOME_FUZZ_SECONDS", 1));
    let first = option("EPITOME_FUZZ_SEED", 0);
    let (mut answers, mut refusals) = (0_u64, 0_u64);
    let mut slowest = (Duration::ZERO, first);
    let start = Instant::now();
    for seed in first.. {
        let begun = Instant::now();
        let end = catch_unwind(AssertUnwindSafe(|| case(&mut Random::of(seed))));
        let took = begun.elapsed();
        match end {
            Ok(End::Answer) => answers += 1,
            Ok(End::Refusal) => refusals += 1,
            Err(_) => panic!("a panic with EPITOME_FUZZ_SEED={seed}"),
        }
        assert!(took < LONGEST, "{took:?} with EPITOME_FUZZ_SEED={seed}");
        slowest = slowest.max((took, seed));
        // On a busy machine the time may end before both kinds of results occurred.
        let is_shown = time.is_zero() || (answers > 0 && refusals > 0);
        if start.elapsed() >= time && (is_shown || start.elapsed() >= LONGEST + time) {
            break;
        }
    }
    println!("{answers} answers and {refusals} refusals, the slowest {slowest:?}");
    if !time.is_zero() {
        assert!(answers > 0 && refusals > 0);
    }
    if let Some(peak) = peak_memory() {
        println!("{peak} KiB at most");
        assert!(peak < MAX_MEMORY, "{peak} KiB");
    }
}

/// Peak resident memory of this process in KiB, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// A file of the repository's `fixtures`.
fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}
