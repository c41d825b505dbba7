//! Fuzzes the reader of SentencePiece models with the conversion of every class that uses one, and
//! the resulting tokenizers on text.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_runtime::bundle::TOKENIZER;
use epitome_runtime::tokenizer::from_json;
use serde_json::{Map, Value};

use super::{End, Random, fixture, run};
use crate::tokenizer::{self, Tokenizers};

const LINES: [&str; 5] = [
    "The quick brown fox.",
    "",
    " \t\n  ½ ﬁ Ⅳ e\u{301}\u{301} <unk></s> ▁▁ a",
    "日本語のテキスト 🙂🏽 \u{0}\u{1f}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// A field of a protobuf message: a number, or bytes with their length.
fn number(tag: u8, value: u64, to: &mut Vec<u8>) {
    to.push(tag << 3);
    varint(value, to);
}

fn bytes(tag: u64, value: &[u8], to: &mut Vec<u8>) {
    varint(tag << 3 | 2, to);
    varint(value.len() as u64, to);
    to.extend(value);
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A model of random pieces.
fn model(random: &mut Random) -> Vec<u8> {
    const PIECES: [&str; 22] = [
        "▁", "a", "b", "▁a", "▁the", "e", "th", "ab", "aa", "aaaa", "<0x41>", "<0xFF>", "<s>",
        "</s>", "<pad>", "日本", "🙂", "\u{301}", " ", "<mask>", "\n", "fox",
    ];
    let mut model = Vec::new();
    let special = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<pad>", 3)];
    let special = special.iter().map(|(text, kind)| ((*text).to_owned(), *kind));
    let count = random.below(30);
    let rest: Vec<(String, u64)> = (0..count)
        .map(|_| {
            let mut text = (*random.pick(&PIECES)).to_owned();
            if random.chance(2) {
                text.push_str(random.pick(&PIECES).to_owned());
            }
            let kind = if random.chance(8) { random.size() } else { 1 };
            (text, kind)
        })
        .collect();
    for (text, kind) in special.chain(rest) {
        let mut piece = Vec::new();
        bytes(1, text.as_bytes(), &mut piece);
        piece.push(2 << 3 | 5);
        let score = match random.below(40) {
            0 => f32::from_bits(random.number() as u32),
            _ => -(random.below(1000) as f32) / 64.0,
        };
        piece.extend(score.to_le_bytes());
        number(3, kind, &mut piece);
        bytes(1, &piece, &mut model);
    }
    let mut trainer = Vec::new();
    number(3, 1 + random.below(2) as u64, &mut trainer);
    if random.chance(4) {
        varint(35 << 3, &mut trainer);
        trainer.push(1);
    }
    bytes(2, &trainer, &mut model);
    let mut normalizer = Vec::new();
    if random.chance(2) {
        // A random double array with replacements.
        let units: Vec<u8> = (0..1 + random.below(600))
            .flat_map(|_| match random.below(3) {
                0 => (random.below(256) as u32).to_le_bytes(),
                1 => ((random.below(600) as u32) << 10 | random.below(512) as u32).to_le_bytes(),
                _ => (random.number() as u32).to_le_bytes(),
            })
            .collect();
        let mut table = (units.len() as u32).to_le_bytes().to_vec();
        table.extend(units);
        table.extend("a\0bc\0 \0ä\0".bytes());
        bytes(2, &table, &mut normalizer);
    }
    number(3, random.below(2) as u64, &mut normalizer);
    number(4, random.below(2) as u64, &mut normalizer);
    bytes(3, &normalizer, &mut model);
    model
}

/// A copy of a fixture whose SentencePiece models are replaced before each case.
struct Family {
    folder: tempfile::TempDir,
    config: Map<String, Value>,
    models: Vec<(PathBuf, Vec<u8>)>,
}

impl Family {
    fn copy(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut models = Vec::new();
        for entry in fs::read_dir(fixture("tokenizers").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let copy = folder.path().join(path.file_name().unwrap());
            fs::copy(&path, &copy).unwrap();
            if matches!(path.extension().and_then(|end| end.to_str()), Some("model" | "spm")) {
                models.push((copy, fs::read(&path).unwrap()));
            }
        }
        let config = fs::read(folder.path().join("config.json")).unwrap();
        let config = serde_json::from_slice(&config).unwrap();
        Self { folder, config, models }
    }
}

fn convert(folder: &Path, config: &Map<String, Value>) -> End {
    let size = usize::MAX;
    let tokenizers =
        Tokenizers { source: folder, source_size: size, target: None, target_size: size };
    let made = folder.join("made");
    fs::create_dir_all(&made).unwrap();
    if let Err(error) = tokenizer::convert(&tokenizers, config, &made) {
        assert!(error.to_string().len() < 10_000);
        return End::Refusal;
    }
    let (tokenizer, _) = from_json(&fs::read_to_string(made.join(TOKENIZER)).unwrap()).unwrap();
    for line in LINES {
        // The library reports errors for pieces that contradict each other.
        if let Ok(encoding) = tokenizer.encode(line, true) {
            assert!(encoding.len() <= 4 * line.len() + 20, "{line:?}: {}", encoding.len());
            let _ = tokenizer.decode(encoding.get_ids(), true);
        }
    }
    End::Answer
}

#[test]
fn sentencepiece() {
    let families =
        ["pegasus", "t5", "mt5", "mbart", "mbart50", "marian", "m2m_100", "nllb", "plbart"]
            .map(Family::copy);
    run(|random| {
        let family = random.pick(&families);
        let which = random.below(family.models.len());
        for (at, (path, good)) in family.models.iter().enumerate() {
            let mut bytes = good.clone();
            if at == which {
                match random.chance(2) {
                    true => random.damage(&mut bytes),
                    false => {
                        bytes = model(random);
                        if random.chance(4) {
                            random.damage(&mut bytes);
                        }
                    }
                }
            }
            let _ = fs::remove_file(path);
            fs::write(path, bytes).unwrap();
        }
        convert(family.folder.path(), &family.config)
    });
}
