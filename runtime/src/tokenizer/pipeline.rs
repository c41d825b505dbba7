//! Reading `tokenizer.json` into a [`Pipeline`]. Its parts are checked before they are used.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    AddedToken, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
    TruncationDirection,
};

use super::parts;
use super::wrappers::{TextDecoder, TextNormalizer};

/// A tokenizer of the `tokenizers` library. It also has SentencePiece's normalizer, and Moses'
/// normalizer and decoder.
pub type Pipeline = TokenizerImpl<
    ModelWrapper,
    TextNormalizer,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    TextDecoder,
>;

/// The fields of `tokenizer.json`. The padding is not read: the runtime pads sources as the model
/// needs it.
#[derive(Deserialize)]
struct File {
    version: Option<String>,
    truncation: Option<Truncation>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
    /// Whether special tokens in a text are read as text. The library has this setting and does not
    /// save it.
    #[serde(default)]
    split_special_tokens: bool,
    /// Whether no end token is added to a text that ends in one.
    #[serde(default)]
    end_token_once: bool,
}

/// The type of the model. [`read_model`] reads the rest.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The truncation of the file. Its length is not read: the bundle's manifest has the limit.
#[derive(Deserialize)]
struct Truncation {
    #[serde(default)]
    direction: TruncationDirection,
}

/// Settings of `tokenizer.json` that a [`Pipeline`] does not hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodingOptions {
    /// The side on which a long text is truncated.
    pub truncation_side: TruncationDirection,
    /// Whether no end token is added to a text that ends in one.
    pub end_token_once: bool,
}

/// Reads a `tokenizer.json`.
///
/// # Errors
///
/// A sentence that says what is wrong, where the text is not a tokenizer or its parts contradict
/// each other.
pub fn from_json(text: &str) -> Result<(Pipeline, EncodingOptions), String> {
    // The library panics at some files that it did not write itself.
    catch_unwind(AssertUnwindSafe(|| read(text)))
        .unwrap_or_else(|_| Err("its parts contradict each other".into()))
}

fn read(text: &str) -> Result<(Pipeline, EncodingOptions), String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(format!("its version is '{version}', and must be 1.0"));
    }
    let model = read_model(text, file.model.kind.as_deref()).map_err(|error| error.to_string())?;
    let mut pipeline = Pipeline::new(model);
    pipeline
        .with_pre_tokenizer(parts::pre_tokenizer(file.pre_tokenizer)?)
        .with_post_processor(parts::post_processor(file.post_processor)?)
        .with_decoder(parts::decoder(file.decoder)?)
        .with_normalizer(parts::normalizer(file.normalizer)?)
        .and_then(|pipeline| pipeline.add_tokens(file.added_tokens))
        .map_err(|error| error.to_string())?;
    pipeline.set_encode_special_tokens(file.split_special_tokens);
    let direction = file.truncation.map(|truncation| truncation.direction);
    let options = EncodingOptions {
        truncation_side: direction.unwrap_or_default(),
        end_token_once: file.end_token_once,
    };
    Ok((pipeline, options))
}

/// Reads the model directly as the type that the file names.
///
/// The library first reads the vocabulary into a JSON value and then looks at the model's `type`.
/// That takes nearly twice as long for 100,000 words.
fn read_model(text: &str, kind: Option<&str>) -> serde_json::Result<ModelWrapper> {
    #[derive(Deserialize)]
    struct File<M> {
        model: M,
    }

    fn read_as<M>(text: &str) -> serde_json::Result<ModelWrapper>
    where
        M: DeserializeOwned + Into<ModelWrapper>,
    {
        Ok(serde_json::from_str::<File<M>>(text)?.model.into())
    }

    match kind {
        Some("Unigram") => read_as::<Unigram>(text),
        Some("BPE") => read_as::<BPE>(text),
        Some("WordPiece") => read_as::<WordPiece>(text),
        Some("WordLevel") => read_as::<WordLevel>(text),
        // Files of old versions of the library have no type.
        _ => read_as::<ModelWrapper>(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokenizers::Tokenizer;

    use super::*;

    fn file(model: &Value, normalizer: &Value) -> String {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{
                "id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }],
            "normalizer": normalizer, "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": null, "decoder": null, "model": model,
        })
        .to_string()
    }

    #[test]
    fn every_type_of_model_is_read_as_the_library_reads_it() {
        let vocab = json!({"<unk>": 0, "a": 1, "b": 2, "ab": 3});
        for model in [
            json!({"type": "Unigram", "unk_id": 0,
                "vocab": [["<unk>", 0.0], ["a", -1.25], ["ab", -0.1]]}),
            json!({"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [["a", "b"]]}),
            json!({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab}),
            json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab}),
            json!({"unk_token": "<unk>", "vocab": vocab}),
        ] {
            let text = file(&model, &Value::Null);
            let (pipeline, _) = from_json(&text).unwrap();
            let library: Tokenizer = text.parse().unwrap();
            assert_eq!(
                serde_json::to_string(&pipeline).unwrap(),
                library.to_string(false).unwrap()
            );
            let ids = pipeline.encode("ab b <unk>", true).unwrap();
            let expected = library.encode("ab b <unk>", true).unwrap();
            assert_eq!(ids.get_ids(), expected.get_ids());
        }
    }

    #[test]
    fn broken_tokenizers_are_errors() {
        let words = json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0}});
        let wrong_model = json!({"type": "WordLevel", "vocab": 7});
        // A table that ends too early, and one whose array points outside itself.
        for table in ["////", "BAAAAAAEAAA=", "no base64"] {
            for normalizer in [
                json!({"type": "Precompiled", "precompiled_charsmap": table}),
                json!({"type": "Sequence", "normalizers": [
                    {"type": "Precompiled", "precompiled_charsmap": table}]}),
                json!({"type": "SentencePiece", "precompiled_charsmap": table,
                    "add_dummy_prefix": true, "remove_extra_whitespaces": true}),
            ] {
                let error = from_json(&file(&words, &normalizer)).unwrap_err();
                assert!(error.contains("precompiled_charsmap"), "{error}");
            }
        }
        from_json(&file(&wrong_model, &Value::Null)).unwrap_err();
        from_json("{}").unwrap_err();
        for (part, value, said) in [
            ("version", json!("2.0"), "must be 1.0"),
            ("normalizer", json!({"type": "None"}), "its normalizer cannot be read"),
            ("pre_tokenizer", json!({"type": "None"}), "its pre_tokenizer cannot be read"),
            ("post_processor", json!({"type": "None"}), "its post_processor cannot be read"),
            ("decoder", json!({"type": "None"}), "its decoder cannot be read"),
        ] {
            let mut parts: Value = serde_json::from_str(&file(&words, &Value::Null)).unwrap();
            parts[part] = value;
            let error = from_json(&parts.to_string()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
