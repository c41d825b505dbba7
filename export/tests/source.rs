//! Archives of training jobs, and malformed ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use epitome_export::checkpoint::Checkpoint;
use epitome_export::source::{Kind, Source};
use epitome_export::{Error, Result};
use epitome_runtime::progress::{Progress, Total};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;

fn model(name: &str) -> Vec<u8> {
    let forms = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/checkpoints/forms");
    fs::read(forms.join(name)).unwrap()
}

/// An entry with an unchecked name and link, which the `tar` crate would refuse.
fn entry(name: &str, kind: EntryType, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(contents.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, contents: &[u8]) -> Vec<u8> {
    entry(name, EntryType::Regular, "", contents)
}

/// An archive of these entries.
fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `config.json` and weights in `folder`, which ends with a slash or is empty.
fn files_in(folder: &str) -> Vec<Vec<u8>> {
    vec![
        file(&format!("{folder}pytorch_model.bin"), &model("bin/pytorch_model.bin")),
        file(&format!("{folder}config.json"), br#"{"model_type": "pegasus"}"#),
        file(&format!("{folder}tokenizer.json"), b"{}"),
        file(&format!("{folder}training_args.bin"), b"PK"),
        file(&format!("{folder}trainer_state.json"), b"{}"),
        file(&format!("{folder}all_results.json"), b"{}"),
    ]
}

/// A file `name` with these bytes, and an empty folder `scratch` for unpacking.
struct Given {
    folder: TempDir,
    path: PathBuf,
}

impl Given {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::create_dir(folder.path().join("scratch")).unwrap();
        Self { folder, path }
    }

    fn open(&self) -> Result<Source> {
        self.open_with(&())
    }

    fn open_with(&self, progress: &dyn Progress) -> Result<Source> {
        Source::open(&self.path, Some(&self.folder.path().join("scratch")), progress)
    }

    /// Everything below the folder but the archive.
    fn left_behind(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.retain(|path| *path != self.path && !path.ends_with("scratch"));
        found
    }
}

/// The error for these entries. No file may be left behind.
fn refused(entries: &[Vec<u8>]) -> String {
    refused_bytes(&gzip(&tar(entries)))
}

fn refused_bytes(bytes: &[u8]) -> String {
    let given = Given::new("model.tar.gz", bytes);
    let message = given.open().expect_err("must be refused").to_string();
    assert_eq!(given.left_behind(), Vec::<PathBuf>::new());
    message.replace(&given.path.display().to_string(), "ARCHIVE")
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_training_job_is_unpacked_as_far_as_needed() {
    let mut entries = vec![entry("./", EntryType::Directory, "", b"")];
    entries.extend(files_in("checkpoint-500/"));
    entries.push(file("checkpoint-500/optimizer.pt", &[7; 5000]));
    entries.push(file("code/config.json", b"not the model's"));
    entries.push(file("code/run_summarization.py", b"import os"));
    entries.extend(files_in("./"));
    let bytes = gzip(&tar(&entries));
    let given = Given::new("model.tar.gz", &bytes);
    let source = given.open().unwrap();
    assert_eq!(names_in(source.root()), ["config.json", "pytorch_model.bin", "tokenizer.json"]);
    let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(source.digest(), format!("sha256:{hex}"));
    let description = source.describe();
    assert_eq!((description.kind, description.name.as_str()), (Kind::Archive, "model.tar.gz"));
    assert_eq!(description.inside, "");
    Checkpoint::open(source.root()).unwrap();
    drop(source);
    assert_eq!(given.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn a_model_in_a_folder_is_found_in_archives_of_any_name() {
    let bytes = tar(&files_in("output/model/"));
    for (name, bytes) in [("a.tar", bytes.clone()), ("b.zip", gzip(&bytes)), ("c", gzip(&bytes))] {
        let source_of = Given::new(name, &bytes);
        let source = source_of.open().unwrap();
        assert_eq!(source.describe().inside, "output/model");
        Checkpoint::open(source.root()).unwrap();
    }
}

#[test]
fn the_last_training_step_is_read_when_there_is_nothing_else() {
    let mut entries = files_in("checkpoint-1000/");
    entries.extend(files_in("checkpoint-500/"));
    entries.push(file("all_results.json", b"{}"));
    let given = Given::new("model.tar.gz", &gzip(&tar(&entries)));
    let source = given.open().unwrap();
    assert_eq!(source.describe().inside, "checkpoint-1000");
    assert_eq!(names_in(source.root()), ["config.json", "pytorch_model.bin", "tokenizer.json"]);
    assert_eq!(names_in(source.root().parent().unwrap()).len(), 1);
}

#[test]
fn long_names_of_either_format_are_understood() {
    let folder = "a-rather-long-name-for-a-folder/".repeat(6);
    let weights = model("safetensors/model.safetensors");
    let files: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", &weights)];

    let mut gnu = tar::Builder::new(Vec::new());
    let mut pax = Vec::new();
    for (name, contents) in files {
        let path = format!("{folder}{name}");
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        gnu.append_data(&mut header, &path, contents).unwrap();

        // The entry's own size is wrong, as in files beyond 8 GB. The extended header has the right
        // one.
        let record = |key: &str, value: &str| {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|n| n.to_string().len() + rest == *n).unwrap();
            format!("{length} {key}={value}\n")
        };
        let records = record("path", &path) + &record("size", &contents.len().to_string());
        pax.push(entry("PaxHeaders/x", EntryType::XHeader, "", records.as_bytes()));
        let mut whole = entry("short", EntryType::Regular, "", contents);
        let mut header = Header::from_byte_slice(&whole[..512]).clone();
        header.set_size(0);
        header.set_cksum();
        whole[..512].copy_from_slice(header.as_bytes());
        pax.push(whole);
    }
    for bytes in [gnu.into_inner().unwrap(), tar(&pax)] {
        let given = Given::new("model.tar.gz", &gzip(&bytes));
        let source = given.open().unwrap();
        assert_eq!(source.describe().inside, folder.trim_end_matches('/'));
        Checkpoint::open(source.root()).unwrap();
    }
}

#[test]
fn entries_that_could_write_elsewhere_are_refused() {
    use EntryType::{Block, Char, Fifo, GNUSparse, Link, Symlink};

    let with = |bad: Vec<u8>| {
        let mut entries = files_in("");
        entries.push(bad);
        refused(&entries)
    };
    assert_eq!(
        with(file("../config.json", b"{}")),
        "ARCHIVE is refused: its entry '../config.json' leads out of the archive by '..'"
    );
    assert_eq!(
        with(file("/etc/passwd", b"x")),
        "ARCHIVE is refused: its entry '/etc/passwd' has an absolute path"
    );
    assert!(with(file("a/../../b", b"x")).contains("leads out of the archive"));
    assert!(with(file("a\\..\\..\\b", b"x")).contains("leads out of the archive"));
    assert!(with(file("C:\\b", b"x")).contains("has an absolute path"));
    assert!(with(file("evil\x1b[2J/../..", b"x")).contains(r"'evil\u{1b}[2J/../..'"));
    let out = "is a link that leads out of the archive: pack the files themselves";
    let vocabulary = "vocab.json";
    assert!(with(entry(vocabulary, Symlink, "/etc/passwd", b"")).contains(out));
    assert!(with(entry(vocabulary, Symlink, "../c", b"")).contains(out));
    assert!(with(entry(vocabulary, Link, "../c", b"")).contains(out));
    let nowhere = "is a link to something that is not a file of the archive";
    assert!(with(entry(vocabulary, Symlink, "merges.txt", b"")).contains(nowhere));
    assert!(with(entry(vocabulary, Link, vocabulary, b"")).contains(nowhere));
    assert!(
        with(entry(vocabulary, Char, "", b"")).contains("'vocab.json' is a device, not a file")
    );
    assert!(with(entry(vocabulary, Block, "", b"")).contains("is a device"));
    assert!(with(entry(vocabulary, Fifo, "", b"")).contains("is a pipe"));
    assert!(with(entry(vocabulary, GNUSparse, "", b"")).contains("is a sparse file"));
    let unknown = EntryType::new(b'V');
    assert!(with(entry(vocabulary, unknown, "", b"")).contains("is of an unknown kind"));
    // A cycle of links, and weights that are links out of the archive. The error names the weights.
    let mut entries = files_in("");
    entries.push(entry(vocabulary, Link, "merges.txt", b""));
    entries.push(entry("merges.txt", Link, vocabulary, b""));
    assert!(refused(&entries).contains(nowhere));
    let snapshot =
        [file("config.json", b"{}"), entry("model.safetensors", Symlink, "../../blobs/abc", b"")];
    assert!(refused(&snapshot).contains(out));
}

#[test]
fn what_is_not_needed_is_passed_over_whatever_it_is() {
    use EntryType::{Block, Char, Fifo, GNUSparse, Link, Symlink};

    let mut entries = files_in("run/");
    for kind in [Char, Block, Fifo, EntryType::new(b'V')] {
        entries.push(entry("run/tmp/odd", kind, "", b""));
    }
    entries.push(entry("a", Symlink, "/etc/passwd", b""));
    entries.push(entry("a/b", Symlink, "../../c", b""));
    entries.push(entry("a/b", Link, "../c", b""));
    entries.push(entry("code/config.json", Fifo, "", b""));
    entries.push(entry("checkpoint-5/config.json", Link, "nowhere", b""));
    // Sparse files: contents of 512 bytes, with a long map and without.
    entries.push(entry("run/optimizer.pt", GNUSparse, "", &[7; 512]));
    let mut sparse = Header::new_gnu();
    sparse.as_old_mut().name[..6].copy_from_slice(b"run/a\0");
    sparse.set_entry_type(GNUSparse);
    sparse.set_size(512);
    sparse.as_gnu_mut().unwrap().isextended = [1];
    sparse.set_cksum();
    let mut map = vec![0; 512];
    map[504] = 1;
    entries.push([sparse.as_bytes(), &map[..], &[0; 512], &[7; 512]].concat());
    entries.push(entry("run/latest", Symlink, "../run", b""));
    entries.push(entry("run/copy.bin", Link, "run/pytorch_model.bin", b""));
    let given = Given::new("model.tar.gz", &gzip(&tar(&entries)));
    Checkpoint::open(given.open().unwrap().root()).unwrap();
}

#[test]
fn what_is_no_whole_archive_is_said() {
    let whole = tar(&files_in(""));
    assert_eq!(
        refused_bytes(b"PK\x03\x04 and so on"),
        "ARCHIVE is not an archive that can be read (it is a zip file, or weights by themselves): \
         give a .tar.gz, a .tar or a checkpoint folder"
    );
    assert!(refused_bytes(b"").contains("it is empty"));
    assert!(refused_bytes(b"hello").contains("it begins like no archive"));
    assert!(refused_bytes(&gzip(b"hello").repeat(300)).contains("a gzip file with no tar in it"));
    assert_eq!(
        refused_bytes(&whole[..3000]),
        "ARCHIVE ends too early: the archive is truncated, fetch it again"
    );
    // Truncations within a header, and between two entries, which may be the end.
    let first = file("config.json", b"{}");
    assert!(refused_bytes(&[&first[..], &first[..9]].concat()).contains("ends too early"));
    assert!(refused_bytes(&first).contains("holds no weights"));
    let mut damaged = whole.clone();
    let second = whole.len() - 1024 - 5 * 1024;
    damaged[second] ^= 1;
    assert!(refused_bytes(&damaged).contains("is damaged (a header's checksum is wrong)"));
    let zipped = gzip(&whole);
    assert!(refused_bytes(&zipped[..zipped.len() - 4]).contains("ends too early"));
    let mut wrong_sum = zipped.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    assert!(refused_bytes(&wrong_sum).contains("is damaged"));
}

#[test]
fn archives_end_as_python_lets_them() {
    let entries = files_in("").concat();
    let zipped = gzip(&tar(&files_in("")));
    for bytes in [
        entries.clone(),
        gzip(&entries),
        [&zipped[..], &[0; 10_000]].concat(),
        // Members one after another, with zeros between them.
        [&gzip(&entries[..5000])[..], &[0; 99], &gzip(&entries[5000..])].concat(),
    ] {
        let given = Given::new("model.tar.gz", &bytes);
        Checkpoint::open(given.open().unwrap().root()).unwrap();
    }
    let garbage = [&zipped[..], b"\0\0garbage that is no member"].concat();
    assert!(refused_bytes(&garbage).contains("is damaged"));
}

#[test]
fn a_link_to_an_entry_is_that_entry() {
    use EntryType::{Link, Symlink};

    let weights = model("bin/pytorch_model.bin");
    let config = br#"{"model_type": "pegasus"}"#;
    let forms: [Vec<Vec<u8>>; 4] = [
        // A hard link, and a chain of them.
        vec![
            file("blobs/abc", &weights),
            file("config.json", config),
            entry("blobs/def", Link, "blobs/abc", b""),
            entry("pytorch_model.bin", Link, "blobs/def", b""),
        ],
        // A symbolic link to a later entry.
        vec![
            entry("pytorch_model.bin", Symlink, "./blobs/abc", b""),
            file("config.json", config),
            file("blobs/abc", &weights),
        ],
        // The target is a file of another model, of a training step.
        vec![
            file("checkpoint-5/pytorch_model.bin", &weights),
            file("checkpoint-5/config.json", b"{}"),
            file("config.json", config),
            entry("pytorch_model.bin", Link, "checkpoint-5/pytorch_model.bin", b""),
        ],
        // All files are links.
        vec![
            file("a", &weights),
            file("b", config),
            entry("m/pytorch_model.bin", Symlink, "../a", b""),
            entry("m/config.json", Link, "b", b""),
        ],
    ];
    for entries in forms {
        for bytes in [tar(&entries), gzip(&tar(&entries))] {
            let given = Given::new("model.tar.gz", &bytes);
            let source = given.open().unwrap();
            assert_eq!(fs::read(source.root().join("config.json")).unwrap(), config);
            Checkpoint::open(source.root()).unwrap();
            drop(source);
            assert_eq!(given.left_behind(), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn a_tokenizer_above_the_model_is_found() {
    let mut entries = files_in("checkpoint-20/");
    entries.remove(2);
    entries.push(file("tokenizer.json", b"above"));
    let given = Given::new("model.tar.gz", &gzip(&tar(&entries)));
    let source = given.open().unwrap();
    assert_eq!(source.describe().inside, "checkpoint-20");
    assert_eq!(fs::read(source.tokenizer().join("tokenizer.json")).unwrap(), b"above");
}

#[test]
fn weights_of_other_tools_are_named_with_what_to_do() {
    let said = |entries: &[Vec<u8>]| refused(entries);
    let config = file("config.json", b"{}");
    for (name, part) in [
        ("global_step9/zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero_to_fp32.py . ."),
        ("global_step9/mp_rank_00_model_states.pt", "zero_to_fp32.py . ."),
        ("pytorch_model_fsdp_0/__0_0.distcp", "accelerate merge-weights FOLDER OUTPUT"),
        ("model-q4.gguf", "llama.cpp (.gguf)"),
        ("epoch=3.ckpt", "Lightning (.ckpt)"),
        ("encoder_model.onnx", "optimum exported to ONNX"),
        ("shared_vocabulary.json", "CTranslate2"),
        ("tf_model.h5", "from_tf=True"),
        ("flax_model-00001-of-00002.msgpack", "from_flax=True"),
    ] {
        let message = said(&[config.clone(), file(name, b"x")]);
        assert!(message.contains(part), "{name}: {message}");
    }
    assert!(said(&[file("a.gguf", b"x")]).contains("llama.cpp"));
}

#[test]
fn headers_that_lie_about_sizes_do_no_harm() {
    // An entry and a long name that claim too large sizes.
    for kind in [EntryType::Regular, EntryType::GNULongName, EntryType::XHeader] {
        for size in [1 << 40, u64::MAX] {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..11].copy_from_slice(b"config.json");
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_cksum();
            let message = refused_bytes(&gzip(&tar(&[header.as_bytes().to_vec()])));
            let expected = ["ends too early", "bytes"];
            assert!(expected.iter().any(|part| message.contains(part)), "{message}");
        }
    }
}

#[test]
fn what_the_archive_lacks_is_said() {
    assert!(refused(&[]).contains("ARCHIVE holds no config.json"));
    assert!(refused(&[file("pytorch_model.bin", b"x")]).contains("holds no config.json"));
    assert!(refused(&[file("m/config.json", b"{}")]).contains("ARCHIVE holds no weights"));
    let tensorflow = [file("config.json", b"{}"), file("tf_model.h5", b"x")];
    assert!(refused(&tensorflow).contains("holds only TensorFlow weights (tf_model.h5)"));
    let nowhere = Source::open(Path::new("no/such/file.tar.gz"), None, &()).unwrap_err();
    assert!(matches!(nowhere, Error::NoSuchSource { .. }));
}

#[derive(Default)]
struct Recorder {
    started: Mutex<Vec<(String, Total)>>,
    advanced: AtomicU64,
    stop_after: Option<u64>,
}

impl Progress for Recorder {
    fn start(&self, what: &str, total: Total) {
        self.started.lock().unwrap().push((what.to_owned(), total));
    }
    fn advance(&self, amount: u64) {
        self.advanced.fetch_add(amount, Ordering::Relaxed);
    }
    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|bytes| self.advanced.load(Ordering::Relaxed) >= bytes)
    }
}

#[test]
fn progress_adds_up_and_can_stop_the_work() {
    let mut entries = files_in("");
    // Incompressible data, so that reading takes several turns.
    let mut noise = vec![0; 1 << 20];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    entries.push(file("optimizer.pt", &noise));
    let bytes = gzip(&tar(&entries));
    let given = Given::new("model.tar.gz", &bytes);
    let recorder = Recorder::default();
    given.open_with(&recorder).unwrap();
    let size = bytes.len() as u64;
    assert_eq!(
        *recorder.started.lock().unwrap(),
        [("Unpacking model.tar.gz".to_owned(), Total::Bytes(size))]
    );
    assert_eq!(recorder.advanced.load(Ordering::Relaxed), size);

    let recorder = Recorder { stop_after: Some(size / 2), ..Recorder::default() };
    assert!(matches!(given.open_with(&recorder), Err(Error::Interrupted)));
    assert_eq!(given.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn a_folder_is_used_where_it_is() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("pegasus");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("config.json"), "{}").unwrap();
    fs::write(root.join("pytorch_model.bin"), "weights").unwrap();
    let recorder = Recorder::default();
    let open = |path: &Path| Source::open(path, None, &recorder).unwrap();
    let source = open(&root);
    assert_eq!(source.root(), root.join(""));
    assert_eq!(
        (source.describe().kind, source.describe().name.as_str()),
        (Kind::Folder, "pegasus")
    );
    assert_eq!(recorder.advanced.load(Ordering::Relaxed), 9);

    // Files that are not read do not change the digest, files that are read do.
    let digest = source.digest().to_owned();
    fs::write(root.join("training_args.bin"), "x").unwrap();
    assert_eq!(open(&root).digest(), digest);
    let above = open(folder.path());
    assert_eq!((above.digest(), above.describe().inside.as_str()), (digest.as_str(), "pegasus"));
    fs::write(root.join("pytorch_model.bin"), "Weights").unwrap();
    assert_ne!(open(&root).digest(), digest);

    let recorder = Recorder { stop_after: Some(0), ..Recorder::default() };
    assert!(matches!(Source::open(&root, None, &recorder), Err(Error::Interrupted)));
}

#[test]
fn the_manifest_gets_no_path_of_this_machine() {
    let given = Given::new("model.tar.gz", &gzip(&tar(&files_in("m/"))));
    let description = serde_json::to_string(given.open().unwrap().describe()).unwrap();
    assert_eq!(description, r#"{"kind":"archive","name":"model.tar.gz","inside":"m"}"#);
}
