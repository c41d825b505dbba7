//! Errors of generation parameters and of searches.

use std::convert::Infallible;

/// Maximum number of characters of a value in a message.
pub(super) const MAX_SHOWN: usize = 80;

/// Shortens a value for a message.
pub(super) fn shown(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An error of a generation parameter. Its message is one sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The name is not a generation parameter.
    #[error("unknown generation parameter `{name}`{}", did_you_mean(.nearest))]
    Unknown {
        /// The unknown name.
        name: String,
        /// The most similar known name, if one is similar enough.
        nearest: Option<&'static str>,
    },
    /// The value has the wrong type, or the parameter does not allow it.
    #[error("generation parameter `{name}` is {value}, but it must be {allowed}")]
    Invalid {
        /// Name of the parameter.
        name: &'static str,
        /// The value, shortened if it is long.
        value: String,
        /// The values that the parameter allows.
        allowed: String,
    },
    /// The value contradicts another parameter or the model.
    #[error("generation parameter `{name}` is {value}, but {reason}")]
    Contradiction {
        /// Name of the parameter.
        name: &'static str,
        /// Value of the parameter.
        value: String,
        /// Reason of the contradiction.
        reason: String,
    },
    /// transformers has the parameter, but epitome does not implement it.
    #[error("generation parameter `{name}` is not supported (it was set to {value})")]
    NotSupported {
        /// Name of the parameter.
        name: &'static str,
        /// The value, shortened if it is long.
        value: String,
    },
    /// Neither caller nor model gives a required parameter.
    #[error(
        "neither the parameters nor the model's generation_config.json give `{name}`, which \
         generation needs"
    )]
    Missing {
        /// Name of the parameter.
        name: &'static str,
    },
    /// An error in the model's defaults, not in the caller's parameters.
    #[error("in the model's generation_config.json: {0}")]
    ModelDefaults(#[source] Box<ParameterError>),
}

impl ParameterError {
    /// Whether the error is in the caller's parameters, and not in the model's defaults.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::ModelDefaults(_))
    }

    /// The error of stop strings that no token of the model can end.
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

/// An error of a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError<E> {
    /// The decoder failed.
    #[error("a decoder step failed")]
    Model(#[source] E),
    /// The parameters do not fit the model or the sources.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The decoder has another vocabulary size than the configuration.
    #[error("the decoder scores {model} tokens, but the parameters were resolved for {config}")]
    Vocabulary {
        /// Vocabulary size of the decoder.
        model: usize,
        /// Vocabulary size in the configuration's limits.
        config: usize,
    },
    /// The decoder returned another number of logits than rows times vocabulary.
    #[error("the decoder returned {found} logits where {expected} were expected")]
    LogitsShape {
        /// Rows times vocabulary size.
        expected: usize,
        /// Number of logits that the decoder returned.
        found: usize,
    },
    /// Scores are NaN or infinite, so they cannot be ranked.
    #[error(
        "the scores of document {document} hold NaN or infinity after {length} tokens \
         (set `remove_invalid_values` to generate nevertheless)"
    )]
    NotANumber {
        /// Index of the document in the call.
        document: usize,
        /// Number of tokens in the decoder's history, including the start token.
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
        /// Number of tokens in the decoder's history, including the start token.
        length: usize,
    },
}

impl GenerateError<Infallible> {
    /// Converts the error to that of a search whose decoder can fail.
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
