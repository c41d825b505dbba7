//! Verifies a written bundle: it loads, its numbers are finite, its digests are right, and decoding
//! with the cache, with beams that cross, equals decoding each history from scratch.

use epitome_runtime::bundle::{Bundle, ModelShape};
use epitome_runtime::generation::{Feed, GlobalAttentionMask, Rows, StepModel};
use epitome_runtime::library::OnnxRuntime;
use epitome_runtime::session::{self, Decoder, Encoder, SessionOptions};
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, ModelSettings, Progress};

use crate::error::{Error, Result};

/// Number of tokens of the probe document.
const SOURCE: usize = 12;
/// Number of beams.
const BEAMS: usize = 3;
/// The parent of each beam at each step: beams are kept, dropped, doubled and crossed.
const PARENTS: [[u32; BEAMS]; 4] = [[0, 1, 2], [1, 0, 0], [2, 2, 1], [0, 2, 1]];
/// Tolerance for rounding, relative to the largest logit (or 1).
pub(crate) const TOLERANCE: f32 = 1e-3;

/// Verifies the bundle. Returns the version of ONNX Runtime.
pub(crate) fn verify(bundle: &Bundle, progress: &dyn Progress) -> Result<String> {
    let runtime = OnnxRuntime::load().map_err(epitome_runtime::Error::from)?;
    bundle.check()?;
    check_defaults(bundle)?;
    interruptible(progress)?;
    // Weights are used where they are mapped: packed copies would cost more than a few slow steps.
    // Threads do not spin, since there is other work between steps.
    let options = SessionOptions { prepack: false, spin: false, ..SessionOptions::default() };
    let (mut encoder, mut decoder) = session::load(bundle, &options)?;
    interruptible(progress)?;
    let probe = Probe { shape: &bundle.manifest().shape, progress };
    probe.run(&mut encoder, &mut decoder)?;
    Ok(runtime.version().to_owned())
}

/// Checks that the model can summarize with its defaults: they resolve, and the tokenizer loads.
pub(crate) fn check_defaults(bundle: &Bundle) -> Result<()> {
    let tokenizer = Tokenizer::of(bundle)?;
    let settings = ModelSettings::of(bundle)?;
    let resolved = settings.configure(&GenerationParameters::default());
    resolved
        .and_then(|config| match config.stop_strings() {
            [] => Ok(()),
            stop_strings => tokenizer.stop_strings(stop_strings).map(drop),
        })
        // The export sets no parameter, so that the checkpoint is at fault.
        .map_err(|error| unsound(&error.to_string()))
}

struct Probe<'a> {
    shape: &'a ModelShape,
    progress: &'a dyn Progress,
}

impl Probe<'_> {
    fn run(&self, encoder: &mut Encoder, decoder: &mut Decoder) -> Result<()> {
        let shape = self.shape;
        let source_vocab_size = shape.source_vocab_size.unwrap_or(shape.vocab_size);
        let source: Vec<u32> = (0..SOURCE.min(shape.max_source_positions))
            .map(|position| probe_token(position, source_vocab_size))
            .collect();
        let positions = shape.max_target_positions.unwrap_or(usize::MAX);
        let steps = PARENTS.len().min(positions);
        // This mask runs all of the graph, whatever the bundle's default. Most models have no such
        // mask.
        let global = GlobalAttentionMask::first();
        let memory = encoder.encode_with(&source, &global)?;
        if !memory.is_finite() {
            return Err(unsound("the encoder's output holds a NaN or an infinity"));
        }
        let mut histories = vec![Vec::new(); BEAMS];
        let mut crossed = Vec::new();
        let mut decoding = decoder.start_with(vec![memory], BEAMS)?;
        for (step, parents) in PARENTS.iter().take(steps).enumerate() {
            histories = parents.iter().map(|&beam| histories[beam as usize].clone()).collect();
            let tokens: Vec<u32> = (0..BEAMS)
                .map(|beam| probe_token(SOURCE + step * BEAMS + beam, shape.vocab_size))
                .collect();
            histories.iter_mut().zip(&tokens).for_each(|(history, &token)| history.push(token));
            crossed = decoding.step_all(&tokens, parents)?.to_vec();
            interruptible(self.progress)?;
        }
        drop(decoding);
        for (history, crossed) in histories.iter().zip(crossed.chunks(self.shape.vocab_size)) {
            let memory = encoder.encode_with(&source, &global)?;
            let mut decoding = decoder.start_with(vec![memory], 1)?;
            let mut alone = Vec::new();
            for &token in history {
                alone = decoding.step_all(&[token], &[0])?.to_vec();
                interruptible(self.progress)?;
            }
            drop(decoding);
            compare(crossed, &alone, TOLERANCE)?;
            if let [first, rest @ ..] = history.as_slice()
                && !rest.is_empty()
            {
                let memory = encoder.encode_with(&source, &global)?;
                let mut decoding = decoder.start_with(vec![memory], 1)?;
                decoding.step_all(&[*first], &[0])?;
                let draft = Feed { document: 0, past: 1, tokens: rest, rows: Rows::Successive };
                let together = decoding.step(&[draft])?;
                let last = &together[(rest.len() - 1) * self.shape.vocab_size..];
                // Several tokens in one step must give the same bits as single ones.
                compare(last, &alone, 0.0)?;
                interruptible(self.progress)?;
            }
        }
        Ok(())
    }
}

/// A token id that differs from its neighbours.
pub(crate) fn probe_token(index: usize, vocab_size: usize) -> u32 {
    (index.wrapping_mul(2_654_435_761) % vocab_size) as u32
}

pub(crate) fn compare(cached: &[f32], scratch: &[f32], tolerance: f32) -> Result<()> {
    // A banned token always has a logit of minus infinity.
    let banned = |logit: f32| logit == f32::NEG_INFINITY;
    let pairs = || cached.iter().copied().zip(scratch.iter().copied());
    let free = || pairs().filter(|&(a, b)| !(banned(a) && banned(b)));
    if free().any(|(a, b)| !(a.is_finite() && b.is_finite())) {
        return Err(unsound("the decoder's logits hold a NaN or an infinity"));
    }
    let largest = free().fold(1f32, |largest, (_, logit)| largest.max(logit.abs()));
    let difference = free().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if difference <= tolerance * largest {
        return Ok(());
    }
    Err(unsound(&format!(
        "logits over the cache differ by {difference} from decoding the same tokens from scratch"
    )))
}

fn unsound(problem: &str) -> Error {
    Error::Unsound { problem: problem.into() }
}

pub(crate) fn interruptible(progress: &dyn Progress) -> Result<()> {
    if progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
}
