//! Truncated and damaged files give an error or a success, never a panic.

use std::fs;
use std::io::Write;
use std::path::Path;

use epitome_export::Error;
use epitome_export::checkpoint::Checkpoint;
use epitome_export::source::Source;
use fastrand::Rng;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/checkpoints");
    fs::read(folder.join(name)).unwrap()
}

/// Truncations of `whole` in steps of `step` bytes, then `changed` versions with up to four bytes
/// changed. The flag says whether the variant is a truncation.
fn variants(whole: &[u8], step: usize, changed: usize) -> impl Iterator<Item = (Vec<u8>, bool)> {
    let cut = (0..whole.len()).step_by(step).map(|len| (whole[..len].to_vec(), true));
    let mut random = Rng::with_seed(7);
    let changed = (0..changed).map(move |_| {
        let mut bytes = whole.to_vec();
        for _ in 0..=random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = match random.usize(..4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[at] ^ (1 << random.usize(..8)),
                _ => random.usize(..256) as u8,
            };
        }
        (bytes, false)
    });
    cut.chain(changed)
}

/// Replaces a file. Overwriting would wait for the disk on some file systems.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// Uses all of a checkpoint.
fn use_up(checkpoint: &Checkpoint) {
    let names: Vec<&str> = checkpoint.names().collect();
    for (name, next) in names.iter().zip(names.iter().cycle().skip(1)) {
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(tensor.to_f32().len(), tensor.len());
        let mut count = 0;
        let mut add = |piece: &[f32]| {
            count += piece.len();
            Ok(())
        };
        tensor.write_f32(&mut add).unwrap();
        assert_eq!(count, tensor.len());
        assert!(tensor.first_non_finite().is_none_or(|at| at < tensor.len()));
        tensor.same_values(&checkpoint.tensor(next).unwrap());
        checkpoint.same_storage(name, next);
    }
}

/// Reads all variants of a weights file.
fn read_variants(file: &str, whole: &[u8], changed: usize) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let (mut good, mut bad) = (0, 0);
    for (bytes, cut) in variants(whole, 1, changed) {
        replace(&folder.path().join(file), &bytes);
        match Checkpoint::open(folder.path()) {
            Ok(checkpoint) => {
                assert!(!cut, "a part of {file} was taken for the whole");
                use_up(&checkpoint);
                good += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                bad += 1;
            }
        }
    }
    assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
}

#[test]
fn weights_of_pytorch() {
    read_variants("pytorch_model.bin", &fixture("pickles/views.bin"), 4000);
    read_variants("pytorch_model.bin", &fixture("pickles/protocol4.bin"), 2000);
    read_variants("pytorch_model.bin", &fixture("pickles/legacy.bin"), 2000);
}

#[test]
fn safetensors() {
    let whole = fixture("forms/safetensors/model.safetensors");
    // The header and a little more: any values behind it are valid.
    let header = usize::from(u16::from_le_bytes([whole[0], whole[1]])) + 8;
    assert!(header < whole.len());
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let mut random = Rng::with_seed(11);
    for _ in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.usize(..3) {
            bytes[random.usize(..header)] = b"0123456789[]{},:\"-ef\xff\0"[random.usize(..22)];
        }
        replace(&folder.path().join("model.safetensors"), &bytes);
        if let Ok(checkpoint) = Checkpoint::open(folder.path()) {
            use_up(&checkpoint);
        }
    }
    for len in (0..whole.len()).step_by(7) {
        replace(&folder.path().join("model.safetensors"), &whole[..len]);
        assert!(Checkpoint::open(folder.path()).is_err());
    }
}

#[test]
fn archives() {
    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("{}/tokenizer.json", "long".repeat(40));
    for (name, contents) in [
        ("m/config.json", b"{}".as_slice()),
        ("m/pytorch_model.bin", &fixture("pickles/protocol5.bin")),
        (&long, b"{}"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, contents).unwrap();
    }
    let plain = tar.into_inner().unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain).unwrap();
    let zipped = encoder.finish().unwrap();

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.tar.gz");
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    // A plain tar may lack the padding at its end.
    let ends = plain.len() - 512;
    for (whole, step, ends) in [(&zipped, 7, zipped.len()), (&plain, 61, ends)] {
        for (bytes, cut) in variants(whole, step, 500) {
            replace(&path, &bytes);
            match Source::open(&path, Some(&scratch), &()) {
                Ok(source) => {
                    // The end of an entry may be the end of the archive.
                    assert!(
                        !cut || bytes.len() >= ends || bytes.len().is_multiple_of(512),
                        "a part was taken for the whole"
                    );
                    if let Ok(checkpoint) = Checkpoint::open(source.root()) {
                        use_up(&checkpoint);
                    }
                }
                Err(error) => {
                    assert!(!matches!(error, Error::Io { .. }), "{error:?}");
                    let cut_short = matches!(
                        error,
                        Error::TruncatedArchive { .. }
                            | Error::NotAnArchive { .. }
                            | Error::MissingConfig { .. }
                            | Error::MissingWeights { .. }
                    );
                    assert!(!cut || cut_short, "{error:?}");
                }
            }
            assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        }
    }
    // No other file was written.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
