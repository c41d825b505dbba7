//! The table of all logits processors.

/// Calls a macro with the lines in its braces, and one line for each logits processor.
///
/// A line describes a processor: the documentation of its parameter, the searches that use it, its
/// name, its type, and its allowed values. The processor is in the file of that name. The order is
/// that of `GenerationMixin._get_logits_processor` (transformers 5.24.0).
macro_rules! with_processors {
    ($then:ident! { $($before:tt)* }) => { $then! { $($before)*
        /// Biases on token sequences, as `[[[ids], bias], …]`.
        Always sequence_bias: Vec<SequenceBias>, "a list of 1 to 16384 pairs [[token ids], finite \
            number] with at most 65536 token ids", |biases| {
                sequences(biases.iter().map(|one| &one.token_ids))
                    && biases.iter().all(|one| one.bias.is_finite())
            };
        /// Subtracted from a token's score for each beam of earlier groups that chose it at the
        /// same step. Default 0.0, off.
        Beams diversity_penalty: f64, "a finite number, 0 or more",
            |value| value.is_finite() && *value >= 0.0;
        /// Favours tokens of the source when above 1.0; 1.0 is off. Default 1.0.
        Always encoder_repetition_penalty: f64, "a finite number above 0", positive;
        /// Divides the probability weight of tokens already generated; 1.0 is off. Default 1.0.
        Always repetition_penalty: f64, "a finite number above 0", positive;
        /// No sequence of this many tokens occurs twice; 0 is off. Default 0.
        Always no_repeat_ngram_size: i64, "a whole number", any;
        /// No sequence of this many tokens of the source occurs in the output; 0 is off. Default 0.
        Always encoder_no_repeat_ngram_size: i64, "a whole number", any;
        /// Token sequences that are never generated.
        Always bad_words_ids: Vec<Vec<u32>>, "a list of 1 to 16384 non-empty lists of token ids, \
            with at most 65536 token ids", |words| sequences(words.iter());
        /// Minimum length of a sequence in tokens, including the decoder start. The end token is
        /// forbidden before. Default 0.
        Always min_length: i64, "a whole number", any;
        /// Minimum number of generated tokens before the end token; takes precedence over
        /// `min_length`.
        Always min_new_tokens: i64, "a whole number", any;
        /// Token that is forced directly after the decoder start.
        Always forced_bos_token_id: u32, "a token id", any;
        /// Token or tokens that are forced at `max_length`.
        Always forced_eos_token_id: Vec<u32>, "a token id or a list of 1 to 256 token ids",
            |ids| (1..=MAX_ENDS).contains(&ids.len());
        /// Replaces NaN and infinite scores by finite ones. Default false.
        Always remove_invalid_values: bool, "true or false", any;
        /// `[start, factor]`: from `start` generated tokens on, the end token's score grows as
        /// `factor` to the power of the tokens since.
        Always exponential_decay_length_penalty: ExponentialDecay, "a pair [whole number, finite \
            number]", |decay| decay.factor.is_finite();
        /// Tokens that are never generated.
        Always suppress_tokens: Vec<i64>, "a token id or a list of at most 65536 token ids",
            |ids| ids.len() <= MAX_IDS;
        /// Tokens that are not generated at the beginning of the output.
        Always begin_suppress_tokens: Vec<i64>, "a token id or a list of at most 65536 token ids",
            |ids| ids.len() <= MAX_IDS;
        /// Divides the logits before sampling. Default 1.0.
        Sampling temperature: f64, "a finite number above 0", positive;
        /// Keeps the likeliest tokens up to this share of the entropy. Default: off.
        Sampling top_h: f64, "a number above 0, at most 1", |value| *value > 0.0 && *value <= 1.0;
        /// Keeps this many likeliest tokens when sampling; 0 is off. Default 50.
        Sampling top_k: i64, "a whole number, 0 or more", |value| *value >= 0;
        /// Keeps the likeliest tokens that together reach this probability; 1.0 is off. Default
        /// 1.0.
        Sampling top_p: f64, "a number, 0 or more", |value| *value >= 0.0;
        /// Drops tokens less likely than this share of the likeliest. Default: off.
        Sampling min_p: f64, "a number from 0 to 1", |value| (0.0..=1.0).contains(value);
        /// Keeps the tokens whose information is nearest to the entropy, up to this probability;
        /// 1.0 is off. Default 1.0.
        Sampling typical_p: f64, "a number above 0", |value| *value > 0.0;
        /// Drops tokens less likely than this, a number between 0 and 1; others are off. Default
        /// 0.0.
        Sampling epsilon_cutoff: f64, "a number", any;
        /// Drops tokens less likely than a bound between 0 and 1 that falls with the entropy;
        /// others are off. Default 0.0.
        Sampling eta_cutoff: f64, "a number", any;
        /// Normalizes the scores once more after all processors. Default false.
        Always renormalize_logits: bool, "true or false", any;
    } };
}

pub(in super::super) use with_processors;
