//! The flags of generation parameters: transformers' names with dashes.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_runtime::GenerationParameters;
use epitome_runtime::generation::GlobalAttentionMask;
use serde_json::{Map, Value};

use crate::failure::Usage;

/// Generation parameters. Unset parameters keep the model's defaults.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationFlags {
    /// Beams of the search; 1 is greedy search
    #[arg(long, alias = "beams", value_name = "N")]
    num_beams: Option<u64>,
    /// Above 0 favours long summaries, below 0 short; `summarize` and `invoke` take a list: 0.6,1.5
    #[arg(long, value_name = "X[,X...]", value_delimiter = ',', allow_hyphen_values = true)]
    length_penalty: Vec<f64>,
    /// Longest summary in tokens, including the start and end tokens
    #[arg(long, value_name = "N")]
    max_length: Option<u64>,
    /// Shortest summary in tokens, including the start and end tokens
    #[arg(long, value_name = "N")]
    min_length: Option<u64>,
    /// Largest number of tokens to generate
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<u64>,
    /// Smallest number of tokens to generate before the end token
    #[arg(long, value_name = "N")]
    min_new_tokens: Option<u64>,
    /// Length of token sequences that may not repeat; 0 allows all
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<u64>,
    /// When beam search may stop
    #[arg(long)]
    early_stopping: Option<EarlyStopping>,
    /// Summaries to return for each document, best first
    #[arg(long, value_name = "N")]
    num_return_sequences: Option<u64>,
    /// Source tokens with global attention, for LED: first, none, or a 1 or 0 for each token
    #[arg(long, value_name = "MASK")]
    global_attention_mask: Option<GlobalAttentionMask>,
    /// Any parameters of transformers' generate, as a JSON object; flags override them
    #[arg(long, value_name = "JSON")]
    parameters: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EarlyStopping {
    /// As soon as num_beams summaries are complete
    True,
    /// When no running beam looks able to beat the worst complete summary
    False,
    /// When no running beam can beat the worst complete summary at any length
    Never,
}

impl GenerationFlags {
    /// The parameters, once for each listed length penalty (once when none is listed).
    pub(crate) fn variants(&self) -> Result<Vec<GenerationParameters>> {
        self.variant_fields()?.iter().map(parse).collect()
    }

    /// The parameters in the form of an endpoint's request, checked.
    #[cfg(feature = "aws")]
    pub(crate) fn requests(&self) -> Result<Vec<Map<String, Value>>> {
        let variants = self.variant_fields()?;
        for fields in &variants {
            parse(fields)?;
        }
        Ok(variants)
    }

    fn variant_fields(&self) -> Result<Vec<Map<String, Value>>> {
        let fields = self.fields()?;
        if self.length_penalty.is_empty() {
            return Ok(vec![fields]);
        }
        let variant = |&penalty: &f64| {
            let mut fields = fields.clone();
            // A number that JSON cannot hold (NaN, infinity) goes in as text, and is refused by its
            // name.
            let value = serde_json::Number::from_f64(penalty);
            let value = value.map_or_else(|| penalty.to_string().into(), Value::Number);
            fields.insert("length_penalty".into(), value);
            fields
        };
        Ok(self.length_penalty.iter().map(variant).collect())
    }

    /// The parameters of a command that takes one set of them.
    pub(crate) fn single(&self) -> Result<GenerationParameters> {
        match self.variants()?.as_slice() {
            [parameters] => Ok(parameters.clone()),
            _ => bail!(Usage("--length-penalty lists several, and this command takes one".into())),
        }
    }

    fn fields(&self) -> Result<Map<String, Value>> {
        let mut fields = match self.parameters.as_deref().map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(Value::Object(fields))) => fields,
            Some(Ok(other)) => {
                bail!(Usage(format!("--parameters must be a JSON object, not {other}")));
            }
            Some(Err(error)) => bail!(Usage(format!("--parameters is not JSON: {error}"))),
        };
        let early_stopping = self.early_stopping.map(|value| match value {
            EarlyStopping::True => Value::Bool(true),
            EarlyStopping::False => Value::Bool(false),
            EarlyStopping::Never => "never".into(),
        });
        let global_attention_mask =
            self.global_attention_mask.as_ref().map(GlobalAttentionMask::to_json);
        let flags = [
            ("num_beams", self.num_beams.map(Value::from)),
            ("max_length", self.max_length.map(Value::from)),
            ("min_length", self.min_length.map(Value::from)),
            ("max_new_tokens", self.max_new_tokens.map(Value::from)),
            ("min_new_tokens", self.min_new_tokens.map(Value::from)),
            ("no_repeat_ngram_size", self.no_repeat_ngram_size.map(Value::from)),
            ("num_return_sequences", self.num_return_sequences.map(Value::from)),
            ("early_stopping", early_stopping),
            (GlobalAttentionMask::NAME, global_attention_mask),
        ];
        fields.extend(flags.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
        Ok(fields)
    }
}

fn parse(fields: &Map<String, Value>) -> Result<GenerationParameters> {
    GenerationParameters::from_json(fields).map_err(|error| Usage(error.to_string()).into())
}
