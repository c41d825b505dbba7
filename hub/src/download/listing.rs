//! The hub's description of a model: its commit, its files, its license.

use std::collections::BTreeMap;

use epitome_export::hub_cache::{ModelId, is_plain};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::license::License;

/// Limit of a file name in messages.
const SHOWN: usize = 80;

/// A model at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// The size of each file by path.
    pub(super) files: BTreeMap<String, u64>,
    pub(super) license: Option<License>,
}

impl Listing {
    /// Reads the answer of `/api/models/NAME/revision/REVISION?blobs=true` at `url`.
    pub(super) fn read(id: &ModelId, url: &str, answer: &Value) -> Result<Self> {
        let wrong =
            |problem: &str| Error::NotTheHub { url: url.to_owned(), problem: problem.to_owned() };
        let commit = answer["sha"].as_str().filter(|sha| is_plain(sha) && !sha.contains('/'));
        let commit = commit.ok_or_else(|| wrong("its answer has no commit"))?;
        let siblings = answer["siblings"].as_array();
        let siblings = siblings.ok_or_else(|| wrong("its answer has no list of files"))?;
        let mut files = BTreeMap::new();
        for sibling in siblings {
            let name = sibling["rfilename"].as_str();
            let name = name.ok_or_else(|| wrong("a file in its answer has no name"))?;
            let refused = |problem: &str| Error::RefusedFile {
                model: id.to_string(),
                file: name.chars().filter(|c| !c.is_control()).take(SHOWN).collect(),
                problem: problem.to_owned(),
            };
            if leads_elsewhere(name) {
                return Err(refused("its path leads out of the model's folder"));
            }
            // A conversion only reads files with plain names.
            if is_plain(name) {
                let size = match &sibling["size"] {
                    Value::Null => 0,
                    size => {
                        size.as_u64().ok_or_else(|| refused("its size is no count of bytes"))?
                    }
                };
                files.insert(name.to_owned(), size);
            }
        }
        Ok(Self { commit: commit.to_owned(), files, license: License::of(answer) })
    }
}

fn leads_elsewhere(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| part == ".." || part.is_empty())
        || path.contains(|c: char| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Result<Listing> {
        Listing::read(&"a/b".parse().unwrap(), "http://hub/api", &answer)
    }

    #[test]
    fn files_have_their_sizes_and_odd_names_are_passed_over() {
        let listing = read(json!({
            "sha": "0123abcd",
            "siblings": [
                {"rfilename": "config.json", "size": 7},
                {"rfilename": "model.safetensors", "size": 1_600_000_000_u64, "lfs": {}},
                {"rfilename": "old/vocab.json"},
                {"rfilename": "my notes.txt", "size": 3},
                {"rfilename": ".gitattributes", "size": 3},
            ],
        }));
        let listing = listing.unwrap();
        let files: Vec<_> =
            listing.files.iter().map(|(name, size)| (name.as_str(), *size)).collect();
        let expected =
            [("config.json", 7), ("model.safetensors", 1_600_000_000), ("old/vocab.json", 0)];
        assert_eq!(files, expected);
        assert_eq!(listing.commit, "0123abcd");
    }

    #[test]
    fn paths_that_lead_elsewhere_and_sizes_that_are_none_are_refused() {
        for name in ["../x", "a/../../x", "/etc/passwd", "a\\b", "..\\x", "a\nb", "a//b", ""] {
            let answer = json!({"sha": "01", "siblings": [{"rfilename": name}]});
            let error = read(answer).unwrap_err();
            assert!(matches!(error, Error::RefusedFile { .. }), "{name:?}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
        for size in [json!(-1), json!(1e300), json!("7"), json!({})] {
            let siblings = json!([{"rfilename": "config.json", "size": size}]);
            let error = read(json!({"sha": "01", "siblings": siblings})).unwrap_err();
            assert!(error.to_string().contains("no count of bytes"), "{error}");
        }
    }

    #[test]
    fn other_answers_are_not_the_hubs() {
        for answer in [
            json!([]),
            json!({}),
            json!({"sha": "../..", "siblings": []}),
            json!({"sha": "refs/x", "siblings": []}),
            json!({"sha": "01", "siblings": {}}),
            json!({"sha": "01", "siblings": [{}]}),
        ] {
            assert!(matches!(read(answer), Err(Error::NotTheHub { .. })));
        }
    }
}
