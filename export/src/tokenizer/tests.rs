//! Compares every family with the goldens in `fixtures/tokenizers`: ids and text of transformers.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Debug, Display};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use epitome_runtime::bundle::{Surplus, TARGET_TOKENIZER, TOKENIZER};
use epitome_runtime::tokenizer::{Language, MosesDecoder, MosesNormalizer, Tokenizer, from_json};
use tokenizers::{Decoder, NormalizedString, Normalizer};

use super::sentencepiece::SentencePieceModel;
use super::settings::object;
use super::{Converted, Notes, Tokenizers, convert, max_source_tokens, read, source_prefix};

/// Variable that names another folder of fixtures and goldens, of 10,000 lines: see
/// `make_tokenizer_goldens.py --to`.
const OTHER_FIXTURES: &str = "EPITOME_TOKENIZER_GOLDENS";

/// Number of differences that are shown for each family.
const SHOWN: usize = 6;

/// Answers of transformers, for a fixture and for the files that it saved of it.
#[derive(Deserialize)]
struct Golden {
    transformers: String,
    tokenizer: String,
    encoded: usize,
    #[serde(flatten)]
    first: Answers,
    /// The saved files by name, with `tokenizer.json` if the class has one.
    saved: Map<String, Value>,
    /// The answers for the saved files, if they differ.
    again: Option<Answers>,
}

/// Ids of the lines and of random sequences, and the text of each.
#[derive(Deserialize)]
struct Answers {
    ids: Vec<Vec<u32>>,
    texts: Vec<String>,
}

/// Numbers of equal and different answers.
#[derive(Default)]
struct Agreement {
    all: usize,
    differ: usize,
}

impl Agreement {
    fn count<T: Debug + PartialEq + ?Sized>(
        &mut self,
        name: &str,
        given: &(impl Debug + ?Sized),
        found: &T,
        expected: &T,
    ) {
        self.all += 1;
        if found == expected {
            return;
        }
        self.differ += 1;
        if self.differ <= SHOWN {
            eprintln!("{name}: {given:?}\n    found    {found:?}\n    expected {expected:?}");
        }
    }
}

impl Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.all - self.differ, self.all)
    }
}

fn fixtures() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tokenizers");
    env::var_os(OTHER_FIXTURES).map_or_else(own, PathBuf::from)
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let mut text = String::new();
    GzDecoder::new(File::open(fixtures().join(format!("{name}.json.gz"))).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_class_agrees_with_both_transformers() {
    let lines: Vec<String> = golden("lines");
    let only = env::var("EPITOME_TOKENIZER_ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, version) in fixtures_and_versions() {
        if !format!("{name}.{version}").contains(&only) {
            continue;
        }
        let expected: Golden = golden(&format!("{name}.{version}"));
        let again = expected.again.as_ref().unwrap_or(&expected.first);
        for (saved, answers) in [(false, &expected.first), (true, again)] {
            let kind = if saved { "saved" } else { "files" };
            let label = format!("{name}.{version} ({kind})");
            let folder = checkpoint(&name, &expected, saved);
            let converted = match converted(folder.path()) {
                Ok(converted) => converted,
                Err(error) => {
                    eprintln!("{label}: {error}");
                    wrong.push(label);
                    continue;
                }
            };
            let (encoded, decoded) = compare(&label, &converted, &lines, &expected, answers);
            eprintln!("{label}: ids of {encoded} lines and text of {decoded} sequences agree");
            if encoded.differ + decoded.differ > 0 {
                wrong.push(label);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Compares ids and texts of a tokenizer in the runtime with those of transformers.
fn compare(
    label: &str,
    (tokenizer, surplus): &(Tokenizer, Option<Surplus>),
    lines: &[String],
    golden: &Golden,
    answers: &Answers,
) -> (Agreement, Agreement) {
    let mut encoded = Agreement::default();
    for (line, ids) in lines.iter().zip(&answers.ids[..golden.encoded]) {
        let seen = |id: u32| surplus.map_or(id, |surplus| surplus.apply(id));
        let found = tokenizer.encode(line).unwrap().ids.into_iter().map(seen);
        encoded.count(label, line, &found.collect::<Vec<_>>(), ids);
    }
    let mut decoded = Agreement::default();
    for (ids, text) in answers.ids.iter().zip(&answers.texts) {
        // Like invalid bytes, the bytes of a replacement character are left out.
        let text = match golden.tokenizer == "ByT5Tokenizer" {
            true => text.replace('\u{fffd}', ""),
            false => text.clone(),
        };
        decoded.count(label, ids, &tokenizer.decode(ids).unwrap(), &text);
    }
    (encoded, decoded)
}

/// A checkpoint of the version of transformers that made the golden: the fixture's files, or those
/// that it saved.
fn checkpoint(name: &str, golden: &Golden, saved: bool) -> tempfile::TempDir {
    let folder = copy(name);
    if saved {
        for file in ["special_tokens_map.json", "added_tokens.json"] {
            let _ = fs::remove_file(folder.path().join(file));
        }
        for (file, content) in &golden.saved {
            fs::write(folder.path().join(file), content.to_string()).unwrap();
        }
    }
    let mut config = object(folder.path(), "config.json").unwrap().unwrap();
    config.insert("transformers_version".into(), json!(golden.transformers));
    fs::write(folder.path().join("config.json"), json!(config).to_string()).unwrap();
    folder
}

fn converted(folder: &Path) -> crate::error::Result<(Tokenizer, Option<Surplus>)> {
    let made = tempfile::tempdir().unwrap();
    let config = object(folder, "config.json")?.unwrap();
    let notes = written(folder, &config, usize::MAX, made.path())?;
    let mut tokenizer = Tokenizer::open(&made.path().join(TOKENIZER), 1 << 20).unwrap();
    if notes.target {
        tokenizer.set_target(&made.path().join(TARGET_TOKENIZER)).unwrap();
    }
    Ok((tokenizer, notes.surplus))
}

/// Writes the tokenizer of the checkpoint `from`, whose model has `size` tokens, into `to`.
fn written(
    from: &Path,
    config: &Map<String, Value>,
    size: usize,
    to: &Path,
) -> crate::error::Result<Notes> {
    let from = Tokenizers { source: from, source_size: size, target: None, target_size: size };
    convert(&from, config, to)
}

/// All fixtures by name, with each version that has a golden.
fn fixtures_and_versions() -> Vec<(String, &'static str)> {
    families()
        .into_iter()
        .flat_map(|(name, _)| ["4", "5"].map(|version| (name.clone(), version)))
        .filter(|(name, version)| {
            let golden = format!("{name}.{version}.json.gz");
            fixtures().join(golden).is_file()
        })
        .collect()
}

/// Names and folders of all fixtures.
fn families() -> Vec<(String, PathBuf)> {
    let folders = fs::read_dir(fixtures()).unwrap();
    let mut families: Vec<_> = folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    families.sort();
    families
}

/// Results of sacremoses for lines and words.
#[derive(Deserialize)]
struct Moses {
    lines: Vec<String>,
    languages: BTreeMap<String, MosesAnswers>,
}

/// Words of each line, shuffled words, and the text of both.
#[derive(Deserialize)]
struct MosesAnswers {
    words: Vec<Vec<String>>,
    mixed: Vec<Vec<String>>,
    texts: Vec<String>,
}

#[test]
fn words_are_those_of_moses() {
    let expected: Moses = golden("moses");
    for (code, answers) in expected.languages {
        let language = Language::from_code(&code).unwrap();
        let both = answers.words.len() + answers.mixed.len();
        assert_eq!([answers.words.len(), answers.texts.len()], [expected.lines.len(), both]);
        let mut cut = Agreement::default();
        for (line, words) in expected.lines.iter().zip(&answers.words) {
            let mut text = NormalizedString::from(line.as_str());
            MosesNormalizer { language, lowercase: false }.normalize(&mut text).unwrap();
            cut.count(&code, line, text.get(), &words.join(" "));
        }
        let mut joined = Agreement::default();
        for (words, text) in answers.words.iter().chain(&answers.mixed).zip(&answers.texts) {
            let tokens = words.iter().map(|word| format!("{word}</w>")).collect();
            let decoder = MosesDecoder { language, clean_up_spaces: false };
            let found = decoder.decode_chain(tokens).unwrap().concat();
            joined.count(&code, words, &found, text);
        }
        eprintln!("{code}: words of {cut} lines and text of {joined} agree");
        assert_eq!(cut.differ + joined.differ, 0, "{code}");
    }
}

#[test]
fn a_second_separator_of_prophetnet_is_special_from_5_on_unless_it_is_null() {
    /// Id of `[X_SEP]`.
    const SEPARATOR: u32 = 4;
    for (version, settings, expected) in [
        ("4.57.6", json!({}), false),
        ("5.24.0", json!({}), true),
        ("5.24.0", json!({"x_sep_token": "[X_SEP]"}), true),
        ("5.24.0", json!({"x_sep_token": null}), false),
    ] {
        let folder = copy("prophetnet-cased");
        let config = json!({"model_type": "prophetnet", "transformers_version": version});
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let mut settings = settings;
        settings["tokenizer_class"] = "ProphetNetTokenizer".into();
        fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        let (tokenizer, _) = converted(folder.path()).unwrap();
        let ids = tokenizer.encode("one [X_SEP] two").unwrap().ids;
        assert_eq!(ids.contains(&SEPARATOR), expected, "{version}, {settings}");
    }
}

#[test]
fn what_is_streamed_begins_the_whole_text() {
    /// Number of sequences of each family.
    const SEQUENCES: usize = 120;
    for (name, version) in fixtures_and_versions() {
        let made = tempfile::tempdir().unwrap();
        let expected: Golden = golden(&format!("{name}.{version}"));
        let folder = checkpoint(&name, &expected, false);
        let config = object(folder.path(), "config.json").unwrap().unwrap();
        written(folder.path(), &config, usize::MAX, made.path()).unwrap();
        let path = made.path().join(TOKENIZER);
        let tokenizer = Tokenizer::open(&path, 512).unwrap();
        let ids = expected.first.ids.into_iter().rev();
        let mut sequences: Vec<Vec<u32>> = ids.take(SEQUENCES).collect();
        sequences.extend(tidied_sequences(&path));
        for ids in sequences {
            let mut stream = tokenizer.detokenizer();
            let mut streamed = String::new();
            for &id in &ids {
                streamed += &stream.push(id).unwrap().unwrap_or_default();
            }
            let whole = tokenizer.decode(&ids).unwrap();
            let rest = whole.strip_prefix(&streamed);
            let rest = rest.unwrap_or_else(|| panic!("{name}: {ids:?}: {streamed:?} of {whole:?}"));
            assert!(rest.split_whitespace().count() <= 3, "{name}: {rest:?} was held back");
        }
    }
}

/// Random sequences of pieces that `clean_up_tokenization_spaces` affects.
fn tidied_sequences(tokenizer: &Path) -> Vec<Vec<u32>> {
    let (pipeline, _) = from_json(&fs::read_to_string(tokenizer).unwrap()).unwrap();
    let vocab = pipeline.get_vocab(false);
    let mut pieces: Vec<(String, u32)> = vocab
        .into_iter()
        .filter(|(piece, _)| piece.chars().all(|c| " ▁.?!,'nmsvetr".contains(c)))
        .collect();
    pieces.sort();
    let mut random = fastrand::Rng::with_seed(7);
    let sequence = |_| (0..12).filter_map(|_| Some(random.choice(&pieces)?.1)).collect();
    (0..400).map(sequence).collect()
}

/// A copy of a fixture's files, for changes.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tokenizers");
    for entry in fs::read_dir(own.join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn refusal(folder: &Path) -> String {
    let config = object(folder, "config.json").unwrap().unwrap();
    read(folder, &config).unwrap_err().to_string()
}

#[test]
fn what_is_missing_is_named() {
    let folder = copy("marian");
    fs::remove_file(folder.path().join("target.spm")).unwrap();
    assert_eq!(
        refusal(folder.path()),
        "the checkpoint lacks target.spm, which its MarianTokenizer is made from; it has \
         source.spm, vocab.json"
    );
    let folder = copy("pegasus");
    fs::remove_file(folder.path().join("spiece.model")).unwrap();
    assert_eq!(
        refusal(folder.path()),
        "tokenizer.json is missing: the checkpoint has no tokenizer"
    );
}

#[test]
fn a_class_that_is_not_converted_is_named() {
    let folder = copy("m2m_100");
    fs::write(
        folder.path().join("tokenizer_config.json"),
        r#"{"tokenizer_class": "SeamlessM4TTokenizer"}"#,
    )
    .unwrap();
    let message = refusal(folder.path());
    assert!(
        message.starts_with(
            "the checkpoint has no tokenizer.json, and a SeamlessM4TTokenizer cannot be made from \
             its sentencepiece.bpe.model, vocab.json"
        ),
        "{message}"
    );
}

#[test]
fn what_no_tokenizer_json_can_say_is_refused_by_name() {
    let folder = copy("fsmt");
    for (langs, expected) in [
        ("null", "is missing, but must name the languages of texts and summaries"),
        (r#"["en"]"#, r#"is ["en"], but must be two of de, en, ru"#),
        (r#"["en", "fr"]"#, r#"is ["en","fr"], but must be two of de, en, ru"#),
        ("5", "is 5, but must be two of de, en, ru"),
    ] {
        let settings = format!(r#"{{"tokenizer_class": "FSMTTokenizer", "langs": {langs}}}"#);
        fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
        let expected = format!("tokenizer_config.json: field 'langs' {expected}");
        assert_eq!(refusal(folder.path()), expected);
    }
    let folder = copy("prophetnet");
    let settings = r#"{"tokenizer_class": "ProphetNetTokenizer", "do_basic_tokenize": false}"#;
    fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    assert_eq!(
        refusal(folder.path()),
        "tokenizer_config.json: field 'do_basic_tokenize' is false, which is not supported"
    );
    // Without these files NLLB's language would be the unknown token.
    let folder = copy("nllb");
    let config = r#"{"model_type": "m2m_100", "transformers_version": "5.24.0"}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let settings = r#"{"tokenizer_class": "NllbTokenizer", "src_lang": "ron_Latn"}"#;
    fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("'ron_Latn', which is not a token"), "{message}");
}

#[test]
fn added_tokens_must_have_the_ids_they_were_trained_with() {
    let folder = copy("bart-added");
    fs::write(folder.path().join("added_tokens.json"), r#"{"<n>": 705}"#).unwrap();
    let message = refusal(folder.path());
    assert!(
        message.ends_with(
            "the added token '<n>' has id 705, and with this vocabulary it would get 700"
        ),
        "{message}"
    );
}

/// Before 4.34 transformers counted the rows without tokens, and saved no languages.
#[test]
fn an_old_added_token_of_m2m_100_keeps_its_row() {
    let folder = copy("m2m_100");
    let pieces = object(folder.path(), "vocab.json").unwrap().unwrap().len() as u32;
    let settings = r#"{"tokenizer_class": "M2M100Tokenizer", "src_lang": "en"}"#;
    for (name, text) in [
        ("tokenizer_config.json", settings.to_owned()),
        ("special_tokens_map.json", "{}".to_owned()),
        ("added_tokens.json", json!({"<new>": pieces + 108}).to_string()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let config = json!({"model_type": "m2m_100", "transformers_version": "4.6.1"});
    let path = folder.path().join("tokenizer.json");
    let rows = pieces as usize + 109;
    written(folder.path(), config.as_object().unwrap(), rows, folder.path()).unwrap();
    let (tokenizer, _) = from_json(&fs::read_to_string(&path).unwrap()).unwrap();
    for (token, id) in [("<new>", pieces + 108), ("__af__", pieces), ("__zu__", pieces + 99)] {
        assert_eq!(tokenizer.token_to_id(token), Some(id), "{token}");
    }
    let ids = tokenizer.encode("a <new> b", true).unwrap().get_ids().to_vec();
    assert!(ids.contains(&(pieces + 108)), "{ids:?}");
}

#[test]
fn the_limit_of_a_tokenizer_without_one_is_the_model_s() {
    let folder = fixtures();
    assert_eq!(max_source_tokens(&folder.join("mt5"), 777).unwrap(), 777);
    assert_eq!(max_source_tokens(&folder.join("t5"), 777).unwrap(), 512);
    assert_eq!(max_source_tokens(&folder.join("led"), 777).unwrap(), 777);
}

#[test]
fn the_source_prefix_is_the_summarization_task_s_or_the_model_s_own() {
    let prefix = |config: Value| source_prefix(config.as_object().unwrap());
    let task = json!({"task_specific_params": {"summarization": {"prefix": "summarize: "}}});
    assert_eq!(prefix(task).unwrap().as_deref(), Some("summarize: "));
    let own = json!({"prefix": "sum: ", "task_specific_params": {"translation": {"prefix": "x"}}});
    assert_eq!(prefix(own).unwrap().as_deref(), Some("sum: "));
    assert_eq!(prefix(json!({"prefix": ""})).unwrap(), None);
    assert_eq!(
        prefix(json!({"prefix": 3})).unwrap_err().to_string(),
        "config.json: field 'prefix' is 3, but must be a text"
    );
}

#[test]
fn the_runtime_puts_the_prefix_before_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let config = json!({"model_type": "t5"});
    let from = fixtures().join("t5");
    let notes = written(&from, config.as_object().unwrap(), 600, folder.path()).unwrap();
    let expected = Notes { surplus: None, target_language: None, portable: true, target: false };
    assert_eq!(notes, expected);
    let mut tokenizer = Tokenizer::open(&path, 512).unwrap();
    let whole = tokenizer.encode("summarize: The program.").unwrap();
    tokenizer.set_source_prefix("summarize: ");
    assert_eq!(tokenizer.encode("The program.").unwrap(), whole);
}

/// An encoder-decoder may have a tokenizer for each side. The second one is for summaries.
#[test]
fn the_decoder_s_tokenizer_writes_summaries() {
    let (from, to) = (fixtures(), tempfile::tempdir().unwrap());
    let config = json!({"model_type": "encoder-decoder", "encoder": {"model_type": "bert"},
                        "decoder": {"model_type": "gpt2"}});
    let tokenizers = Tokenizers {
        source: &from.join("bert"),
        source_size: 5000,
        target: Some(&from.join("gpt2")),
        target_size: 5000,
    };
    assert!(convert(&tokenizers, config.as_object().unwrap(), to.path()).unwrap().target);
    let open = |name: &str| Tokenizer::open(&to.path().join(name), 512).unwrap();
    let (mut both, target) = (open(TOKENIZER), open(TARGET_TOKENIZER));
    both.set_target(&to.path().join(TARGET_TOKENIZER)).unwrap();
    let text = "The program reads the files.";
    assert_eq!(both.encode(text).unwrap(), open(TOKENIZER).encode(text).unwrap());
    let ids = target.encode(text).unwrap().ids;
    assert_ne!(ids, both.encode(text).unwrap().ids);
    assert_eq!(both.decode(&ids).unwrap(), text);
}

#[test]
fn the_target_language_s_token_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for (name, language) in [("mbart", "ro_RO"), ("mbart50", "en_XX"), ("m2m_100", "__de__")] {
        let from = fixtures().join(name);
        let config = object(&from, "config.json").unwrap().unwrap();
        let notes = written(&from, &config, 5000, folder.path()).unwrap();
        let (tokenizer, _) = from_json(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(notes.target_language.is_some(), "{name}");
        assert_eq!(notes.target_language, tokenizer.token_to_id(language), "{name}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused_but_special_tokens_may_lack_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path();
    let from = fixtures().join("mbart");
    let config = json!({"model_type": "mbart"});
    let config = config.as_object().unwrap();
    // The last piece is <mask>.
    written(&from, config, 546, to).unwrap();
    let message = written(&from, config, 500, to).unwrap_err().to_string();
    assert_eq!(
        message,
        "tokenizer.json has 547 pieces and config.json's vocab_size is 500: they are not of one \
         model"
    );
}

/// Damaged models give an error, or a tokenizer that works.
#[test]
fn damaged_sentencepiece_models_do_no_harm() {
    let folder = copy("t5-tidied");
    let path = folder.path().join("spiece.model");
    let whole = fs::read(&path).unwrap();
    let config = object(folder.path(), "config.json").unwrap().unwrap();
    let lines: Vec<String> = golden("lines");
    let attempt = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let Ok(Converted { pipeline, .. }) = read(folder.path(), &config) else {
            return false;
        };
        for line in lines.iter().step_by(7) {
            pipeline.encode(line.as_str(), true).unwrap();
        }
        true
    };
    assert!(attempt(&whole));
    for length in (0..whole.len()).step_by(97) {
        attempt(&whole[..length]);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let rounds = env::var("EPITOME_FUZZ_ROUNDS").map_or(400, |rounds| rounds.parse().unwrap());
    let mut survived = 0;
    for _ in 0..rounds {
        let mut bytes = whole.clone();
        for _ in 0..=random.usize(..3) {
            // Half of the damage is in the normalizer's table, at the end.
            let from = if random.bool() { 0 } else { whole.len() - whole.len() / 4 };
            let at = random.usize(from..whole.len());
            bytes[at] ^= 1 << random.u32(..8);
        }
        survived += usize::from(attempt(&bytes));
    }
    eprintln!("{survived} of {rounds} damaged models could be used");
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    for bytes in [
        b"\x0a\xff\xff\xff\xff\x7f".as_slice(),
        b"\x0a\x04\x0a\xff\xff\x7f",
        b"\x1a\x06\x12\xff\xff\xff\xff\x0f",
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
    ] {
        SentencePieceModel::parse("spiece.model", bytes).unwrap_err();
    }
}

#[test]
fn a_model_of_another_order_is_refused() {
    let folder = copy("mbart");
    let words = fixtures().join("marian/source.spm");
    fs::copy(words, folder.path().join("sentencepiece.bpe.model")).unwrap();
    let message = refusal(folder.path());
    assert!(message.ends_with("among its first 3, where special ones must be"), "{message}");
}
