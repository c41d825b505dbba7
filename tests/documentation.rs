//! The documentation names only files that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: the Markdown files of the root, of `docs/` and beside code.
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
    // NAME stands for a file that the reader is to add.
    let paths = code.filter(|code| code.ends_with(".rs") && !code.contains("NAME"));
    let mut count = 0;
    for path in paths.filter(|path| path.contains('/')) {
        assert!(root().join(path).is_file(), "docs/architecture.md names {path}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}
