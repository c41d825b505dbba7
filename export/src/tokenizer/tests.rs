//! Every family on the goldens in `fixtures/tokenizers`: ids and text as transformers has them.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::settings::object;
use super::{Converted, read};

/// Another folder of goldens, for instance of 10,000 lines: see `make_tokenizer_goldens.py --to`.
const OTHER_GOLDENS: &str = "EPITOME_TOKENIZER_GOLDENS";

/// Differences shown of each family.
const SHOWN: usize = 6;

/// What transformers answers: ids of the lines and of sequences as a decoder makes them, and the
/// text of each.
#[derive(Deserialize)]
struct Golden {
    encoded: usize,
    /// None where the format cannot say what transformers does.
    ids: Vec<Option<Vec<u32>>>,
    texts: Vec<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tokenizers")
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let folder = env::var_os(OTHER_GOLDENS).map_or_else(fixtures, PathBuf::from);
    let mut text = String::new();
    GzDecoder::new(File::open(folder.join(format!("{name}.json.gz"))).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_family_agrees_with_transformers() {
    let lines: Vec<String> = golden("lines");
    let mut folders: Vec<_> = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let mut wrong = 0;
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let config = object(&folder, "config.json").unwrap().unwrap();
        let Converted { tokenizer, surplus } =
            read(&folder, &config).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected: Golden = golden(name);
        let mut ids_differ = 0;
        for (line, ids) in lines.iter().zip(&expected.ids[..expected.encoded]) {
            let encoding = tokenizer.encode(line.as_str(), true).unwrap();
            let Some(ids) = ids else { continue };
            let found: Vec<u32> = encoding
                .get_ids()
                .iter()
                .map(|id| surplus.map_or(*id, |surplus| surplus.apply(*id)))
                .collect();
            if found != *ids {
                ids_differ += 1;
                if ids_differ <= SHOWN {
                    eprintln!("{name}: {line:?}\n    {found:?}\n    {ids:?}");
                }
            }
        }
        let mut texts_differ = 0;
        for (ids, text) in expected.ids.iter().zip(&expected.texts) {
            let Some(ids) = ids else { continue };
            let found = tokenizer.decode(ids, true).unwrap();
            if found != *text {
                texts_differ += 1;
                if texts_differ <= SHOWN {
                    eprintln!("{name}: {ids:?}\n    {found:?}\n    {text:?}");
                }
            }
        }
        eprintln!(
            "{name}: ids of {} of {} lines and text of {} of {} sequences agree",
            expected.encoded - ids_differ,
            expected.encoded,
            expected.texts.len() - texts_differ,
            expected.texts.len(),
        );
        wrong += ids_differ + texts_differ;
    }
    assert_eq!(wrong, 0);
}
