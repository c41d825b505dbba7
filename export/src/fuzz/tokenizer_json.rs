//! Fuzzes the reader of `tokenizer.json`, and the resulting tokenizer on text.

use std::fs::{self, File};

use epitome_runtime::tokenizer::Tokenizer;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

use super::{End, Random, fixture, run};

const LINES: [&str; 5] = [
    "The quick brown fox's 12 tails.",
    "",
    " \t\n  ½ ﬁ Ⅳ e\u{301}\u{301} <unk></s> ▁▁ a",
    "日本語のテキスト 🙂🏽 \u{0}\u{1f}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
/// Fixtures with a `tokenizer.json`, one of each kind of model and decoder.
const FIXTURES: [&str; 6] = ["bart.4", "bert.5", "mbart50.5", "pegasus.4", "t5.5", "nllb.4"];

/// A random value of a field.
fn value(random: &mut Random) -> Value {
    let number = random.size();
    match random.below(12) {
        0 => Value::Null,
        1 => json!(random.chance(2)),
        2 => json!(number),
        3 => json!(-(random.below(1000) as f64) / 64.0),
        4 => json!(""),
        5 => json!("▁"),
        6 => json!("</s>"),
        7 => json!({"type": "Sequence", "normalizers": [], "pretokenizers": [], "decoders": []}),
        8 => json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAEAAA="}),
        9 => json!({"Regex": *random.pick(&["(a|a)*$", "(?<=x)", "[", r"\s+", "(.*)*b"])}),
        10 => json!([["a", 0.0], ["a", -1.0], ["<unk>", 0.0]]),
        _ => json!({"a": 0, "b": number, "<unk>": 1}),
    }
}

/// Changes a few values anywhere in a file.
fn damage(at: &mut Value, random: &mut Random) {
    let inside = match at {
        Value::Object(fields) => fields.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if inside == 0 || random.chance(6) {
        *at = value(random);
        return;
    }
    let place = random.below(inside);
    match at {
        Value::Object(fields) => {
            if let Some((_, field)) = fields.iter_mut().nth(place) {
                damage(field, random);
            }
        }
        Value::Array(items) if random.chance(12) => drop(items.remove(place)),
        Value::Array(items) => damage(&mut items[place], random),
        _ => {}
    }
}

/// The `tokenizer.json` that transformers saved for a fixture.
fn saved(name: &str) -> Value {
    let path = fixture("tokenizers").join(format!("{name}.json.gz"));
    let golden: Map<String, Value> =
        serde_json::from_reader(GzDecoder::new(File::open(path).unwrap())).unwrap();
    golden["saved"]["tokenizer.json"].clone()
}

#[test]
fn tokenizer_json() {
    let files = FIXTURES.map(saved);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    // Panics of the library become errors, whose messages are noise here.
    run(|random| {
        let mut file = random.pick(&files).clone();
        for _ in 0..random.below(4) {
            damage(&mut file, random);
        }
        let mut bytes = file.to_string().into_bytes();
        if random.chance(4) {
            random.damage(&mut bytes);
        }
        fs::write(&path, bytes).unwrap();
        let Ok(tokenizer) = Tokenizer::open(&path, 512) else {
            return End::Refusal;
        };
        for line in LINES {
            if let Ok(tokens) = tokenizer.encode(line) {
                let _ = tokenizer.decode(&tokens.ids);
            }
        }
        let _ = tokenizer.stop_strings(&["fox".to_owned()]);
        End::Answer
    });
}
