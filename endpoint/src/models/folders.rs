//! The allowed folders for models of a multi-model endpoint.

use std::path::{Component, Path, PathBuf};

use crate::error::ApiError;

/// Folder where SageMaker puts the models of a multi-model endpoint.
const SAGEMAKER: &str = "/opt/ml/models";

/// The folders that may contain models.
pub(crate) struct ModelFolders {
    root: PathBuf,
}

impl ModelFolders {
    /// Allows this folder, and SageMaker's.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The folder of a URL of `POST /models`.
    ///
    /// # Errors
    /// If it is not a folder below the allowed ones. The error does not reveal what is there.
    pub(crate) fn of_url(&self, url: &str) -> Result<PathBuf, ApiError> {
        let path = Path::new(url.strip_prefix("file://").unwrap_or(url));
        self.inside(path).ok_or_else(|| {
            ApiError::BadRequest(format!(
                "`url` must be a folder in '{}', where the models of this server lie",
                self.root.display()
            ))
        })
    }

    /// The name and the folder of the model that a client names by its path below the root. All
    /// spellings of a path give the same name.
    pub(crate) fn of_name(&self, name: &str) -> Option<(String, PathBuf)> {
        let parts: Option<Vec<&str>> = Path::new(name)
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| match part {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        let name = parts.filter(|parts| !parts.is_empty())?.join("/");
        let folder = self.inside(&self.root.join(&name))?;
        Some((name, folder))
    }

    /// The path without links, if it is a folder below an allowed one.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().ok().filter(|path| path.is_dir())?;
        let mut roots = [&*self.root, Path::new(SAGEMAKER)].into_iter();
        let is_inside =
            roots.any(|root| root.canonicalize().is_ok_and(|root| path.starts_with(root)));
        is_inside.then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_spelling_is_one_model_and_nothing_outside_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(folder.path().join("secret")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let folders = ModelFolders::new(&root);
        for spelling in ["a/b", "a/b/", "a//b", "./a/b", "a/./b/."] {
            let (name, path) = folders.of_name(spelling).unwrap();
            assert_eq!((name.as_str(), path), ("a/b", root.join("a/b").canonicalize().unwrap()));
        }
        for outside in ["", ".", "..", "../secret", "a/../../secret", "/etc", "file", "none"] {
            assert_eq!(folders.of_name(outside), None, "{outside}");
        }
        let url =
            |path: &str| folders.of_url(&format!("file://{}", folder.path().join(path).display()));
        assert!(url("models/a").is_ok() && url("models").is_ok());
        assert_eq!(url("secret"), url("nothing"), "what is outside is not told");
        assert!(url("models/../secret").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir(folder.path().join("secret")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        assert_eq!(ModelFolders::new(&root).of_name("link"), None);
    }
}
