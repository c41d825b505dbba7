//! What can be wrong with generation parameters, and with a search.

use std::convert::Infallible;

/// Values longer than this are cut in messages.
pub(super) const SHOWN: usize = 80;

/// A value as a message shows it.
pub(super) fn shown(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A generation parameter that cannot be followed, said in one sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The name is not a generation parameter.
    #[error("unknown generation parameter `{name}`{}", did_you_mean(.nearest))]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The known name most like it, if one is like it at all.
        nearest: Option<&'static str>,
    },
    /// The value has the wrong type, or lies outside what the parameter allows.
    #[error("generation parameter `{name}` is {value}, but it must be {allowed}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// The value as it was given, cut when long.
        value: String,
        /// What the parameter allows.
        allowed: String,
    },
    /// The value is sound by itself but contradicts another one.
    #[error("generation parameter `{name}` is {value}, but {reason}")]
    Contradiction {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it contradicts.
        reason: String,
    },
    /// transformers knows the parameter, epitome does not implement it.
    #[error("generation parameter `{name}` is not supported (it was set to {value})")]
    NotSupported {
        /// The parameter.
        name: &'static str,
        /// The value as it was given, cut when long.
        value: String,
    },
    /// The model names no token where generation needs one.
    #[error(
        "neither the parameters nor the model's generation_config.json give `{name}`, which \
         generation needs"
    )]
    Missing {
        /// The parameter.
        name: &'static str,
    },
    /// The model's own defaults are at fault, not the caller.
    #[error("in the model's generation_config.json: {0}")]
    ModelDefaults(#[source] Box<ParameterError>),
}

impl ParameterError {
    /// Whether the caller is at fault, and not the model's own defaults.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::ModelDefaults(_))
    }

    /// Stop strings of which the tokenizer can write none.
    pub(crate) fn unmatchable(stop_strings: &[String]) -> Self {
        Self::Contradiction {
            name: "stop_strings",
            value: format!("a list of {} texts", stop_strings.len()),
            reason: "no token of the model ends in any of them, so they can never be generated"
                .to_owned(),
        }
    }
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; `epitome` takes the parameters of transformers' `generate`".to_owned(),
    }
}

/// Why a search ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError<E> {
    /// The decoder failed.
    #[error("a decoder step failed")]
    Model(#[source] E),
    /// The parameters and this model or these sources do not go together.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The decoder's vocabulary is not the one that the parameters were checked against.
    #[error("the decoder scores {model} tokens, but the parameters were resolved for {config}")]
    Vocabulary {
        /// Vocabulary of the model.
        model: usize,
        /// Vocabulary in the configuration's limits.
        config: usize,
    },
    /// The decoder returned another number of logits than rows times vocabulary.
    #[error("the decoder returned {found} logits where {expected} were expected")]
    LogitsShape {
        /// Rows times vocabulary.
        expected: usize,
        /// What came back.
        found: usize,
    },
    /// Scores that are not numbers cannot be ranked.
    #[error(
        "the scores of document {document} hold NaN or infinity after {length} tokens \
         (set `remove_invalid_values` to generate nevertheless)"
    )]
    NotANumber {
        /// Index of the document in the call.
        document: usize,
        /// Tokens in the decoder's history at that step, the start token included.
        length: usize,
    },
    /// The search has a bug.
    #[error("the search of document {document} panicked, which is a bug of epitome")]
    Panicked {
        /// Index of the document in the call.
        document: usize,
    },
    /// Sampling found no token with a probability above zero.
    #[error("the parameters leave document {document} no token to sample after {length} tokens")]
    NothingToSample {
        /// Index of the document in the call.
        document: usize,
        /// Tokens in the decoder's history at that step, the start token included.
        length: usize,
    },
}

impl GenerateError<Infallible> {
    /// The same error, of a search over a decoder that can fail.
    pub(crate) fn of_model<E>(self) -> GenerateError<E> {
        match self {
            Self::Model(never) => match never {},
            Self::Parameter(error) => GenerateError::Parameter(error),
            Self::Vocabulary { model, config } => GenerateError::Vocabulary { model, config },
            Self::LogitsShape { expected, found } => GenerateError::LogitsShape { expected, found },
            Self::NotANumber { document, length } => GenerateError::NotANumber { document, length },
            Self::Panicked { document } => GenerateError::Panicked { document },
            Self::NothingToSample { document, length } => {
                GenerateError::NothingToSample { document, length }
            }
        }
    }
}
