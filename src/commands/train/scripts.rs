//! The scripts of a training job, from a folder or a git repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use epitome_aws::training::{GitConfig, TrainingSpec, pack};
use epitome_runtime::scratch;

use crate::failure::Usage;

/// The local copy of the scripts.
pub(super) struct Scripts {
    /// The folder that is packed; `None` for the entry point alone.
    folder: Option<PathBuf>,
    /// Path of the entry point: relative to the folder, if there is one.
    entry_point: String,
    /// Keeps the cloned repository.
    _clone: Option<scratch::Folder>,
}

impl Scripts {
    /// Finds the scripts of a job. Clones a repository, and records its commit in the job's tags.
    pub(super) fn find(spec: &mut TrainingSpec) -> Result<Self> {
        let entry_point = spec.entry_point.clone().unwrap_or_default();
        let Some(config) = spec.git_config.clone() else {
            return Ok(Self { folder: spec.source_dir.clone(), entry_point, _clone: None });
        };
        let clone = scratch::Folder::new(".epitome-scripts-")?;
        let commit = check_out(&config, clone.path())?;
        spec.record_commit(&without_secrets(&config.repo), &commit);
        let within = |path: &Path| {
            if path.is_relative() {
                Ok(clone.path().join(path))
            } else {
                Err(Usage(format!(
                    "'{}' is not within the repository: give its path from there",
                    path.display()
                )))
            }
        };
        let (folder, entry_point) = match &spec.source_dir {
            Some(source) => (Some(within(source)?), entry_point),
            None => {
                let entry_point = within(Path::new(&entry_point))?;
                (None, entry_point.display().to_string())
            }
        };
        Ok(Self { folder, entry_point, _clone: Some(clone) })
    }

    /// Packs the scripts as a `sourcedir.tar.gz`.
    pub(super) fn pack(&self) -> Result<scratch::File> {
        let mut packed = scratch::File::new(".epitome-sourcedir-")?;
        pack(self.folder.as_deref(), &self.entry_point, packed.as_file_mut())?;
        Ok(packed)
    }
}

/// Clones a repository, checks out the requested revision, and returns its commit.
fn check_out(config: &GitConfig, folder: &Path) -> Result<String> {
    if let Some(commit) = &config.commit
        && (commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        bail!(Usage(format!("'{commit}' is not a commit: give its hexadecimal digits")));
    }
    let mut clone = vec![OsStr::new("clone"), OsStr::new("--quiet")];
    let branch = config.branch.as_ref().map(|name| format!("--branch={name}"));
    clone.extend(branch.as_ref().map(OsStr::new));
    if config.commit.is_none() {
        clone.push(OsStr::new("--depth=1"));
    }
    clone.extend([OsStr::new("--"), OsStr::new(&config.repo), folder.as_os_str()]);
    git(&clone, Path::new("."))?;
    if let Some(commit) = &config.commit {
        git(&["checkout", "--quiet", "--detach", commit].map(OsStr::new), folder)?;
    }
    git(&["rev-parse", "HEAD"].map(OsStr::new), folder)
}

/// The URL of a repository without user name and token, as everybody sees it who sees the job.
fn without_secrets(repo: &str) -> String {
    let is_http = |scheme: &str| matches!(scheme, "http" | "https");
    match repo.split_once("://") {
        Some((scheme, rest)) if is_http(scheme) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}{path}")
        }
        _ => repo.to_owned(),
    }
}

/// Runs git and returns its output, or its own error message.
fn git(arguments: &[&OsStr], folder: &Path) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("git cannot be started, which fetches the scripts")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        bail!("the scripts cannot be fetched: {said}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn tokens_are_not_recorded() {
        for (repo, shown) in [
            ("https://me:token@host/a@b.git", "https://host/a@b.git"),
            ("https://token@host", "https://host"),
            ("https://host/a.git", "https://host/a.git"),
            ("git@host:a.git", "git@host:a.git"),
            ("ssh://git@host/a.git", "ssh://git@host/a.git"),
            ("/srv/a", "/srv/a"),
        ] {
            assert_eq!(without_secrets(repo), shown);
        }
    }
}
