//! Checks that the documentation names only existing files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages: the Markdown files of the root, of `docs/` and next to code.
fn pages() -> Vec<PathBuf> {
    let folders = [
        "",
        "docs",
        "runtime/kernels",
        "bench",
        "endpoint",
        "fixtures",
        "fixtures/train",
        "packaging",
        "python",
    ];
    let files = folders.map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let paths = files.into_iter().flatten().map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect()
}

#[test]
fn links_lead_to_files() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains("://");
            let found = page.parent().unwrap().join(target);
            assert!(!is_file || found.exists(), "{} links to {target}", page.display());
        }
    }
}

#[test]
fn the_architecture_names_files_that_exist() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let code = text.split('`').skip(1).step_by(2);
    // NAME stands for a file that the reader adds.
    let paths = code.filter(|code| code.ends_with(".rs") && !code.contains("NAME"));
    let mut count = 0;
    for path in paths.filter(|path| path.contains('/')) {
        assert!(root().join(path).is_file(), "docs/architecture.md names {path}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// The models that `AutoModelForSeq2SeqLM` of each version loads, as `fixtures/make_model_table.py`
/// wrote them.
#[test]
fn the_table_of_models_has_every_row_of_transformers() {
    let rows = fs::read_to_string(root().join("fixtures/goldens/models.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    let tiny: BTreeMap<String, Vec<String>> = tiny_checkpoints();
    let table = fs::read_to_string(root().join("docs/checkpoints.md")).unwrap();
    let mut missing = Vec::new();
    let mut count = 0;
    for (version, rows) in rows.as_object().unwrap() {
        for (model_type, row) in rows.as_object().unwrap() {
            if row["text"] != true {
                continue;
            }
            count += 1;
            let start = format!("| `{model_type}` |");
            let line = table.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no row of {model_type}, {version}"));
            let command =
                |name: &String| line.contains(&format!("`epitome export fixtures/tiny/{name} "));
            match tiny.get(model_type) {
                Some(names) => assert!(names.iter().any(command), "{line}"),
                None => {
                    assert!(line.ends_with("| missing |"), "{line}");
                    missing.push(model_type.clone());
                }
            }
        }
    }
    assert!(count > 35, "{count}");
    println!("missing: {missing:?}");
}

/// Names of the tiny checkpoints by model.
fn tiny_checkpoints() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in fs::read_dir(root().join("fixtures/tiny")).unwrap() {
        let folder = folder.unwrap();
        let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let model_type = config["model_type"].as_str().unwrap().to_owned();
        found.entry(model_type).or_default().push(folder.file_name().into_string().unwrap());
    }
    found
}
