//! Results over time: a folder of results, drawn on one page.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::replace;
use crate::results::Results;

/// File name of the page.
pub const PAGE: &str = "history.html";

/// Reads all results of a folder and of its direct subfolders, the oldest first. Skips other files.
///
/// # Errors
///
/// [`Error::Io`] when the folder cannot be read; [`Error::Data`] when it holds no results.
pub fn read(folder: &Path) -> Result<Vec<Results>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
        let paths = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path()));
        paths.collect()
    };
    let mut files = Vec::new();
    for path in list(folder)? {
        if path.is_dir() {
            files.extend(list(&path)?);
        } else {
            files.push(path);
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut all: Vec<Results> = files.iter().filter_map(|path| Results::read(path).ok()).collect();
    if all.is_empty() {
        let problem = "holds no results.json of 'epitome bench'";
        return Err(Error::data(folder, problem));
    }
    all.sort_by(|a, b| a.origin.date.cmp(&b.origin.date));
    Ok(all)
}

/// Adds results to the folder under their date and commit. Creates a missing folder.
///
/// # Errors
///
/// [`Error::Io`], naming the file.
pub fn add(folder: &Path, results: &Results) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let date = results.origin.date.replace(':', "");
    let commit = results.origin.commit.as_deref().unwrap_or_default();
    let commit: String = commit.chars().take(8).collect();
    let name = match commit.is_empty() {
        true => format!("{date}.json"),
        false => format!("{date}-{commit}.json"),
    };
    let path = folder.join(name);
    let mut json = serde_json::to_vec_pretty(results).expect("plain values become JSON");
    json.push(b'\n');
    replace(&path, &json)?;
    Ok(path)
}

/// Draws the folder's page, and returns its path.
///
/// # Errors
///
/// When the results cannot be read, as in [`read`], or [`Error::Io`] when the page cannot be
/// written.
pub fn draw(folder: &Path) -> Result<PathBuf> {
    let page = crate::report::history(&read(folder)?);
    let path = folder.join(PAGE);
    replace(&path, page.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn results_are_kept_by_date_and_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = folder.path().join("history");
        for (day, factor) in [(2, 1.2), (1, 1.0)] {
            let mut results = results(true);
            results.origin.date = format!("2026-01-0{day}T00:00:00Z");
            results.origin.commit = Some("0123456789abcdef".into());
            results.points[0].latency_ms.p50 *= factor;
            add(&history, &results).expect("added");
        }
        assert!(history.join("2026-01-01T000000Z-01234567.json").is_file());
        fs::write(history.join("other.json"), "{}").expect("written");
        let all = read(&history).expect("read");
        assert_eq!(all.len(), 2);
        assert!(all[0].origin.date < all[1].origin.date);
        let page = fs::read_to_string(draw(&history).expect("drawn")).expect("a page");
        assert!(page.contains("<svg") && page.contains("2026-01-02") && page.contains("01234567"));
        for foreign in ["<script", "<link", "src=", "url(", "@import", "NaN"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_folder_without_results_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = draw(folder.path()).expect_err("refused").to_string();
        assert!(message.ends_with("holds no results.json of 'epitome bench'"), "{message}");
    }
}
