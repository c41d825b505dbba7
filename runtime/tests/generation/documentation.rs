//! `docs/parameters.md` lists every parameter in its section.

use std::path::Path;

use epitome_runtime::generation::GenerationParameters;

/// Names in the first column of the table below a heading.
fn names(document: &str, heading: &str) -> Vec<String> {
    let (_, section) = document.split_once(heading).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn every_parameter_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/parameters.md");
    let document = std::fs::read_to_string(path).expect("docs/parameters.md");
    for (heading, known) in [
        ("## Followed", GenerationParameters::names()),
        ("## Accepted, without effect", GenerationParameters::harmless_names()),
        ("## Refused", GenerationParameters::refused_names()),
    ] {
        assert_eq!(names(&document, heading), known, "{heading}");
    }
}
