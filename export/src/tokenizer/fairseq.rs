//! SentencePiece vocabularies in fairseq's order of special tokens: XLM-RoBERTa, CamemBERT,
//! BARThez.
//!
//! Agrees with their fast classes of transformers 4.57 and their classes of 5.24
//! (`models/xlm_roberta`, `models/camembert`, `models/barthez`), and with their converters
//! (`convert_slow_tokenizer.py`).

use serde_json::{Value, json};

use super::class::{
    Change, Class, CleanUpSpaces, FAIRSEQ_NAMES, Folder, Json, metaspace, replace,
    sentencepiece_before_5, sequence, spaced_words,
};
use super::sentencepiece::SentencePieceModel;
use super::settings::special;
use super::tokenizer_json::{Parts, PostProcessor, SpecialTokens, defaults, mask};
use super::vocabulary::Pieces;
use crate::error::Result;
use crate::version::Version;

const FILE: &str = "sentencepiece.bpe.model";
/// Id of the unknown piece of all three.
const UNKNOWN: usize = 3;
/// CamemBERT's tokens that are not used.
const NOT_USED: [&str; 3] = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];

pub(super) const XLM_ROBERTA: Class =
    class(&["XLMRobertaTokenizer"], |folder| convert(folder, Order::XlmRoberta));
pub(super) const CAMEMBERT: Class =
    class(&["CamembertTokenizer"], |folder| convert(folder, Order::Camembert));
pub(super) const BARTHEZ: Class =
    class(&["BarthezTokenizer"], |folder| convert(folder, Order::Barthez));

const fn class(names: &'static [&'static str], convert: fn(&Folder<'_>) -> Result<Parts>) -> Class {
    Class {
        names,
        files: &[FILE],
        convert,
        json: Json::Read(Change::Nothing),
        clean_up_spaces: CleanUpSpaces::IfSet,
        end_token_once: false,
    }
}

/// The order of a class's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// fairseq's four special tokens, the pieces without the model's first three, the mask.
    XlmRoberta,
    /// fairseq's four special tokens among unused ones, the pieces without the model's first, the
    /// mask.
    Camembert,
    /// The order of the model.
    Barthez,
}

impl Order {
    fn pieces(
        self,
        model: &SentencePieceModel,
        names: &SpecialTokens,
    ) -> Result<Vec<(String, f64)>> {
        let token = |name| names.required(name).map(|text| (text.to_owned(), 0.0));
        let unused = |at: usize, score| (NOT_USED[at].to_owned(), score);
        let (first, replaced) = match self {
            Self::XlmRoberta => {
                let first = ["bos_token", "pad_token", "eos_token", "unk_token"].map(token);
                (first.into_iter().collect::<Result<Vec<_>>>()?, 3)
            }
            Self::Camembert => (
                vec![
                    unused(0, 0.0),
                    token("pad_token")?,
                    unused(1, 0.0),
                    token("unk_token")?,
                    unused(2, -100.0),
                ],
                1,
            ),
            Self::Barthez => return Ok(model.scored(0).collect()),
        };
        model.must_begin_with_special(replaced)?;
        let last = token("mask_token")?;
        Ok(first.into_iter().chain(model.scored(replaced)).chain([last]).collect())
    }
}

fn convert(folder: &Folder<'_>, order: Order) -> Result<Parts> {
    let settings = folder.settings;
    let version = folder.version();
    let mut known = defaults(&FAIRSEQ_NAMES);
    known.push(match (version, order) {
        (Version::V5, Order::XlmRoberta) => ("mask_token", special("<mask>")),
        (_, order) => mask("<mask>", version == Version::V5 && order == Order::Barthez),
    });
    let names = SpecialTokens::new(settings, &known)?;
    let pieces = Pieces::read(folder, FILE, |model| order.pieces(model, &names))?;
    let bos = names.required("bos_token")?;
    let eos = names.required("eos_token")?;
    let scheme = match version == Version::V4 || settings.flag("add_prefix_space", true)? {
        true => "always",
        false => "never",
    };
    let charsmap = pieces.charsmap.clone();
    let (normalizer, pre_tokenizer) = match (version, order) {
        (Version::V4, _) => (sentencepiece_before_5(charsmap), metaspace(scheme)),
        (Version::V5, Order::Barthez) => {
            let steps = vec![
                replace(json!({"Regex": r"\s{2,}|[\n\r\t]"}), " "),
                json!({"type": "NFC"}),
                json!({"type": "Strip", "strip_left": false, "strip_right": true}),
            ];
            (sequence(steps), metaspace(scheme))
        }
        (Version::V5, _) => (charsmap.unwrap_or(Value::Null), spaced_words(scheme)),
    };
    let post_processor = match (version, order) {
        (Version::V5, Order::Barthez) => PostProcessor::of_json(folder.json, &names, settings),
        _ => PostProcessor::around(&[bos], &[eos]),
    };
    let extra = settings.extra_tokens().unwrap_or_else(|| match version {
        Version::V5 if folder.json.is_none() => pieces.added.clone(),
        _ if order == Order::Camembert => NOT_USED.map(special).into(),
        _ => Vec::new(),
    });
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        model: pieces.model(version, UNKNOWN)?,
        decoder: metaspace(scheme),
        post_processor,
        added: names.to_add(settings, pieces.added, extra),
        surplus: None,
    })
}
