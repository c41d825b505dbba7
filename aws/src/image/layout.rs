//! The image in Docker's format: one layer, a configuration, a manifest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use epitome_runtime::Progress;
use epitome_runtime::bundle::digest;
use epitome_runtime::progress::Total;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::contents::{Contents, Entry, EntryKind};
use crate::error::{Error, Result};

/// Media types of Docker's manifests. SageMaker and all registries accept them.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Time of every file, so that the same files make the same image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// An image in memory.
pub struct Image {
    pub(super) layer: Blob,
    pub(super) config: Blob,
    pub(super) manifest: Vec<u8>,
}

/// A byte string with its digest.
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    /// `sha256:` and the hexadecimal digits.
    pub(super) digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", digest::bytes(&bytes)), bytes }
    }

    fn describe(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "size": self.bytes.len(), "digest": self.digest})
    }
}

impl Image {
    /// Packs the files.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn new(contents: &Contents, progress: &dyn Progress) -> Result<Self> {
        let tar = pack(contents, progress)?;
        let diff = format!("sha256:{}", digest::bytes(&tar));
        let failed =
            |error: io::Error| Error::Failed(format!("the image cannot be packed: {error}"));
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        progress.start("Packing the image", Total::Bytes(tar.len() as u64));
        for part in tar.chunks(1 << 20) {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            gzip.write_all(part).map_err(failed)?;
            progress.advance(part.len() as u64);
        }
        let layer = Blob::new(gzip.finish().map_err(failed)?);
        let config = Blob::new(config(&diff).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.describe(CONFIG),
            "layers": [layer.describe(LAYER)],
        });
        Ok(Self { layer, config, manifest: manifest.to_string().into_bytes() })
    }

    /// The digest that names the image.
    pub fn digest(&self) -> String {
        format!("sha256:{}", digest::bytes(&self.manifest))
    }

    /// Size of the image in a registry, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.layer.bytes.len() + self.config.bytes.len() + self.manifest.len()) as u64
    }

    pub(super) fn manifest_type(&self) -> &'static str {
        MANIFEST
    }

    /// Writes an archive for `docker load` and `podman load`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, out: impl Write) -> io::Result<()> {
        let file =
            |blob: &Blob, end: &str| format!("{}{end}", blob.digest.trim_start_matches("sha256:"));
        let (config, layer) = (file(&self.config, ".json"), file(&self.layer, ".tar.gz"));
        let index = json!([{"Config": config, "RepoTags": [name], "Layers": [layer]}]).to_string();
        let mut tar = Builder::new(out);
        for (name, bytes) in [
            (layer.as_str(), self.layer.bytes.as_slice()),
            (config.as_str(), self.config.bytes.as_slice()),
            ("manifest.json", index.as_bytes()),
        ] {
            let mut header = header(bytes.len() as u64, 0o644);
            tar.append_data(&mut header, name, bytes)?;
        }
        tar.into_inner()?.flush()
    }
}

/// The run configuration of the image, equal to that of endpoint/Dockerfile.
fn config(diff: &str) -> Value {
    json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "created": EPOCH,
        "config": {
            "User": "65534:65534",
            "ExposedPorts": {"8080/tcp": {}},
            "Env": [
                "EPITOME_HOST=0.0.0.0",
                "EPITOME_SUPERVISE=true",
                "EPITOME_AUTHENTICATED_UPSTREAM=true",
            ],
            "Entrypoint": ["/opt/epitome/epitome"],
            "Cmd": ["serve"],
            "StopSignal": "SIGTERM",
            "Labels": {
                "com.amazonaws.sagemaker.capabilities.multi-models": "true",
                "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": EPOCH, "created_by": "epitome image"}],
    })
}

fn header(bytes: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(mode);
    header
}

/// A tar archive of the files and their folders.
fn pack(contents: &Contents, progress: &dyn Progress) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut folders = std::collections::BTreeSet::new();
    for (path, entry) in contents.entries() {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.pop();
        for folder in above.into_iter().rev() {
            if folders.insert(folder.to_owned()) {
                append(&mut tar, folder, &Entry { kind: EntryKind::Folder, mode: 0o755 })?;
            }
        }
        append(&mut tar, path, entry)?;
    }
    tar.into_inner().map_err(|error| Error::io(Path::new("the image"), error))
}

fn append(tar: &mut Builder<Vec<u8>>, path: &Path, entry: &Entry) -> Result<()> {
    let failed = |error| Error::io(path, error);
    match &entry.kind {
        EntryKind::File(from) => {
            let mut bytes = Vec::new();
            let read = File::open(from).and_then(|mut file| file.read_to_end(&mut bytes));
            read.map_err(|error| Error::io(from, error))?;
            let mut header = header(bytes.len() as u64, entry.mode);
            tar.append_data(&mut header, path, bytes.as_slice()).map_err(failed)
        }
        EntryKind::Link(target) => {
            let mut header = header(0, entry.mode);
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, target).map_err(failed)
        }
        EntryKind::Folder => {
            let mut header = header(0, entry.mode);
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, path, io::empty()).map_err(failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_image_runs_as_the_dockerfile_says() {
        let dockerfile = include_str!("../../../endpoint/Dockerfile");
        let config = config("");
        let of = |instruction: &str| -> Vec<&str> {
            let lines = dockerfile.lines().filter_map(|line| line.strip_prefix(instruction));
            lines.map(str::trim).collect()
        };
        let environment: Vec<&str> = of("ENV ")[0].split(' ').collect();
        assert_eq!(config["config"]["Env"], json!(environment));
        assert_eq!(config["config"]["User"], of("USER ")[0]);
        assert_eq!(config["config"]["Entrypoint"].to_string(), of("ENTRYPOINT ")[0]);
        assert_eq!(config["config"]["Cmd"].to_string(), of("CMD ")[0]);
        assert_eq!(config["config"]["StopSignal"], of("STOPSIGNAL ")[0]);
        let labels: Vec<String> = config["config"]["Labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        assert_eq!(labels, of("LABEL "));
        let port = format!("{}/tcp", of("EXPOSE ")[0]);
        assert!(config["config"]["ExposedPorts"].get(port).is_some());
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("epitome");
        let library = folder.path().join("libonnxruntime.so.1");
        for file in [&program, &library] {
            fs::write(file, "bytes").unwrap();
        }
        let image = || {
            let contents = Contents::of_this_process(&program, &library).unwrap();
            Image::new(&contents, &()).unwrap()
        };
        let image = (image(), image());
        assert_eq!(image.0.digest(), image.1.digest());
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&*image.0.layer.bytes));
        let paths: Vec<String> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        for path in ["opt", "opt/epitome", "opt/epitome/epitome", "tmp"] {
            assert!(paths.iter().any(|it| it.trim_end_matches('/') == path), "{path}: {paths:?}");
        }
        assert!(paths.iter().any(|path| path.ends_with("libc.so.6")), "{paths:?}");
    }
}
