//! The input files of a job, and their outputs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::error::Result;
use crate::s3::{Listed, S3};
use crate::uri::S3Uri;

/// Suffix that a job adds to the name of an input for its output.
const SUFFIX: &str = ".out";

/// Suffix of a manifest's name.
const MANIFEST: &str = ".manifest";

/// Inputs and outputs on S3 at one moment.
#[derive(Clone, Debug)]
pub struct Files {
    inputs: BTreeMap<String, Listed>,
    /// Outputs by the names of their inputs.
    outputs: BTreeMap<String, (String, Listed)>,
}

impl Files {
    /// Lists the two prefixes. Excluded from the inputs are outputs within the input's prefix, and
    /// empty objects, which stand for folders.
    ///
    /// # Errors
    /// Any error of the requests.
    pub fn list(s3: &S3, input: &S3Uri, output: &S3Uri) -> Result<Self> {
        let mut inputs = s3.objects(input, &())?;
        if input.bucket() == output.bucket()
            && let Some(below) = folder(output).strip_prefix(&folder(input))
        {
            inputs.retain(|name, _| !is_left_by_jobs(name, below));
        }
        inputs.retain(|_, file| file.bytes > 0);
        let found = s3.objects(output, &())?;
        Ok(Self { outputs: outputs(&inputs, found, last_folder(input)), inputs })
    }

    /// Names of the inputs, relative to their prefix.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.keys().map(String::as_str)
    }

    /// Size of all inputs in bytes.
    pub fn bytes(&self) -> u64 {
        self.inputs.values().map(|file| file.bytes).sum()
    }

    /// Inputs without an output.
    pub fn missing(&self) -> Vec<String> {
        let has_none = |name: &&String| !self.outputs.contains_key(*name);
        self.inputs.keys().filter(has_none).cloned().collect()
    }

    /// The name of an input's output, relative to the output's prefix.
    pub fn output(&self, input: &str) -> Option<&str> {
        self.outputs.get(input).map(|(name, _)| name.as_str())
    }

    /// The same files with only the outputs that were written before a time.
    #[must_use]
    pub fn before(&self, seconds: f64) -> Self {
        let mut before = self.clone();
        before.outputs.retain(|_, (_, file)| (file.modified as f64) < seconds.floor());
        before
    }

    /// Whether the input has an output that is new or newer since `before`.
    pub fn is_new(&self, input: &str, before: &Self) -> bool {
        match (self.outputs.get(input), before.outputs.get(input)) {
            (Some((_, now)), Some((_, then))) => now.modified > then.modified,
            (now, _) => now.is_some(),
        }
    }
}

/// The outputs of inputs. As AWS documents it, the last folder of the input's prefix is put before
/// the names. Outputs in other folders belong to other jobs.
fn outputs(
    inputs: &BTreeMap<String, Listed>,
    found: BTreeMap<String, Listed>,
    last_folder: &str,
) -> BTreeMap<String, (String, Listed)> {
    let mut outputs = BTreeMap::new();
    for (name, file) in found {
        let Some(input) = name.strip_suffix(SUFFIX) else { continue };
        let below = input.strip_prefix(last_folder).and_then(|rest| rest.strip_prefix('/'));
        let of = [Some(input), below].into_iter().flatten().find(|it| inputs.contains_key(*it));
        if let Some(input) = of {
            outputs.entry(input.to_owned()).or_insert((name, file));
        }
    }
    outputs
}

/// The last folder of a prefix; empty for a bucket.
fn last_folder(prefix: &S3Uri) -> &str {
    prefix.key().trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Whether a file within the input's prefix is an output or a manifest, which its name tells if
/// both prefixes are the same.
fn is_left_by_jobs(name: &str, below: &str) -> bool {
    match below.is_empty() {
        true => [SUFFIX, MANIFEST].iter().any(|end| name.ends_with(end)),
        false => name.starts_with(below),
    }
}

fn folder(uri: &S3Uri) -> String {
    if uri.is_folder() { uri.key().to_owned() } else { format!("{}/", uri.key()) }
}

/// The address of a job's manifest, in the folder of its outputs.
pub fn manifest_uri(output: &S3Uri, job: &str) -> S3Uri {
    output.join(&format!("{job}{MANIFEST}"))
}

/// A manifest of these files below a prefix.
pub fn manifest(prefix: &S3Uri, names: &[String]) -> Value {
    let prefix = json!({"prefix": prefix.join("").to_string()});
    [prefix].into_iter().chain(names.iter().map(|name| name.as_str().into())).collect()
}

/// The files that a manifest names. Malformed manifests name none.
pub fn manifest_files(manifest: &[u8]) -> BTreeSet<String> {
    serde_json::from_slice::<Vec<Value>>(manifest)
        .iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> BTreeMap<String, Listed> {
        let file = Listed { bytes: 1, modified: 0 };
        names.iter().map(|name| ((*name).to_owned(), file)).collect()
    }

    #[test]
    fn outputs_are_found_wherever_aws_puts_them() {
        let inputs = listed(&["a.jsonl", "sub/a.jsonl", "b.jsonl"]);
        let found = listed(&[
            "a.jsonl.out",
            "docs/sub/a.jsonl.out",
            "c.jsonl.out",
            "b.jsonl",
            "archive/b.jsonl.out",
            "docs/docs/b.jsonl.out",
        ]);
        let prefix: S3Uri = "s3://bucket/all/docs/".parse().unwrap();
        let outputs = outputs(&inputs, found, last_folder(&prefix));
        let names: Vec<_> =
            outputs.iter().map(|(input, (output, _))| (input.as_str(), output.as_str())).collect();
        assert_eq!(names, [("a.jsonl", "a.jsonl.out"), ("sub/a.jsonl", "docs/sub/a.jsonl.out")]);
        let files = Files { inputs, outputs };
        assert_eq!(files.missing(), ["b.jsonl"]);
    }

    #[test]
    fn outputs_beside_their_inputs_are_no_inputs() {
        for (name, below, is_left) in [
            ("a.jsonl", "", false),
            ("a.jsonl.out", "", true),
            ("job.manifest", "", true),
            ("done/a.jsonl", "done/", true),
            ("a.out", "done/", false),
        ] {
            assert_eq!(is_left_by_jobs(name, below), is_left, "{name}");
        }
    }

    #[test]
    fn manifests_name_a_prefix_and_its_files() {
        let prefix: S3Uri = "s3://bucket/docs".parse().unwrap();
        let files = ["a".to_owned(), "b/c".to_owned()];
        let manifest = manifest(&prefix, &files);
        assert_eq!(manifest, json!([{"prefix": "s3://bucket/docs/"}, "a", "b/c"]));
        assert_eq!(manifest_files(manifest.to_string().as_bytes()), BTreeSet::from(files));
        assert!(manifest_files(b"{").is_empty());
    }
}
