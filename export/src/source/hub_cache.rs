//! Models in the local cache of the Hugging Face hub, where its Python library puts them.
//!
//! `models--ORG--NAME/refs/REVISION` holds the commit whose files lie in `snapshots/COMMIT/`. See
//! `huggingface_hub/constants.py` for where the cache is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::adapter::BaseName;

/// The longest file with a commit that is read.
const MAX_REFERENCE: u64 = 256;

/// The folder of a model of the hub, when it is in the cache.
pub(super) fn find(base: &BaseName) -> Option<PathBuf> {
    find_in(&cache()?, base)
}

fn find_in(cache: &Path, base: &BaseName) -> Option<PathBuf> {
    let name = base.name.as_deref().filter(|name| is_plain(name))?;
    if name.split('/').count() > 2 {
        return None;
    }
    let revision = base.revision.as_deref().unwrap_or("main");
    if !is_plain(revision) {
        return None;
    }
    let model = cache.join(format!("models--{}", name.replace('/', "--")));
    let reference = model.join("refs").join(revision);
    let commit = match fs::metadata(&reference) {
        Ok(file) if file.is_file() && file.len() <= MAX_REFERENCE => {
            fs::read_to_string(&reference).ok()?
        }
        _ => revision.to_owned(),
    };
    let commit = commit.trim();
    let folder = model.join("snapshots").join(commit);
    (is_plain(commit) && folder.is_dir()).then_some(folder)
}

/// Whether a name has only parts that are names of the hub, and none that leads elsewhere.
fn is_plain(name: &str) -> bool {
    name.split('/').all(|part| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    })
}

fn cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(set("HF_HOME")?.join("hub")))
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(env::home_dir()?.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str, revision: Option<&str>) -> BaseName {
        BaseName { name: Some(name.to_owned()), revision: revision.map(str::to_owned) }
    }

    #[test]
    fn a_model_is_found_by_its_name_and_revision() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--facebook--bart-base");
        for commit in ["aaaa", "bbbb"] {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("refs/refs/pr")).unwrap();
        fs::write(model.join("refs/main"), "aaaa").unwrap();
        fs::write(model.join("refs/refs/pr/1"), "bbbb\n").unwrap();
        let find = |name, revision| {
            let found = find_in(cache.path(), &base(name, revision))?;
            Some(found.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let name = "facebook/bart-base";
        assert_eq!(find(name, None).as_deref(), Some("aaaa"));
        assert_eq!(find(name, Some("refs/pr/1")).as_deref(), Some("bbbb"));
        assert_eq!(find(name, Some("bbbb")).as_deref(), Some("bbbb"));
        assert_eq!(find(name, Some("v2")), None);
        assert_eq!(find("facebook/bart-large", None), None);
        for odd in ["../models--facebook--bart-base", "/etc", "a/b/c", "", "a//b", ".hidden"] {
            assert_eq!(find(odd, None), None, "{odd}");
            assert_eq!(find(name, Some(odd)), None, "{odd}");
        }
        fs::write(model.join("refs/main"), "../../..").unwrap();
        assert_eq!(find(name, None), None);
    }
}
