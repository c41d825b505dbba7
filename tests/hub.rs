//! Tests of models by name: they are fetched from a hub on loopback, stored, and found again.

mod server;

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{THREADS, fails, fixture, run, succeeds, text};
use epitome_export::hub_cache::{Cache, ModelId};
use epitome_hub::Error;
use epitome_hub::download::{Fetched, Hub as Client};
use epitome_hub::settings::Settings;
use epitome_runtime::bundle::digest;
use serde_json::{Value, json};
use server::{Harmed, Hub, Repository, Request, TOKEN, refusal};

const ARTICLE: &str = "articles/neuron.txt";

fn bart() -> Repository {
    let mut repository = Repository::of(&fixture("tiny/bart-gelu"));
    repository.card = json!({"license": "apache-2.0"});
    repository.files.insert("LICENSE".into(), b"Do as you like.".to_vec());
    repository
}

/// A model of two shards, among files that no export reads. The shards have no tensors.
fn sharded() -> Repository {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Repository::with([
        ("config.json", bytes(r#"{"model_type": "bart"}"#)),
        ("tokenizer.json", bytes(r#"{"version": "1.0"}"#)),
        ("model.safetensors.index.json", bytes("{}")),
        ("model-00001-of-00002.safetensors", vec![1; 700_000]),
        ("model-00002-of-00002.safetensors", vec![2; 300_000]),
        ("pytorch_model.bin", vec![3; 1_000_000]),
        ("tf_model.h5", vec![4; 1000]),
        ("README.md", bytes("# A model")),
        ("LICENSE", bytes("Do as you like.")),
        ("training_args.bin", vec![5; 100]),
        ("onnx/model.onnx", vec![6; 100]),
    ])
}

/// A client of this hub in this process, with the cache of the hub's user.
fn client(hub: &Hub) -> Client {
    let settings = Settings {
        endpoint: format!("http://{}", hub.address),
        token: None,
        offline: false,
        cache: Cache::new(hub.home("hf/hub")),
    };
    Client::new(settings).unwrap()
}

fn fetch(hub: &Hub, id: &str) -> Result<Fetched, Error> {
    client(hub).fetch(&id.parse::<ModelId>().unwrap(), &())
}

/// Names of the requested files, each once.
fn asked(requests: &[Request]) -> Vec<String> {
    let gets = requests.iter().filter(|request| request.method == "GET");
    let mut names: Vec<_> = gets
        .filter_map(|request| {
            let (_, name) = request.target.split_once("/resolve/")?.1.split_once('/')?;
            Some(name.split('?').next()?.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}

#[test]
fn a_model_is_pulled_by_its_name_and_is_then_the_one_to_use() {
    let name = "sshleifer/distilbart-cnn-12-6";
    let hub = Hub::start([(name, bart())]);
    let article = fixture(ARTICLE);
    let (_, said) = succeeds(hub.epitome().args(["pull", name]));
    for words in ["Licence of sshleifer/distilbart-cnn-12-6: apache-2.0", "int8", "summarize FILE"]
    {
        assert!(said.contains(words), "'{words}' is missing in:\n{said}");
    }
    let (summary, _) = succeeds(hub.epitome().arg("summarize").arg(&article));
    assert_eq!(summary.lines().count(), 1);
    for model in [name, "distilbart-cnn-12-6"] {
        let mut command = hub.epitome();
        let (same, _) = succeeds(command.args(["summarize", "--model", model]).arg(&article));
        assert_eq!(same, summary);
    }
    let (list, _) = succeeds(hub.epitome().arg("models"));
    let row = list.lines().nth(1).unwrap();
    for words in [name, "int8", "MB", "tokens", "apache-2.0", "default"] {
        assert!(row.contains(words), "'{words}' is missing in: {row}");
    }
    let (shown, _) = succeeds(hub.epitome().args(["inspect", name]));
    assert!(shown.contains(&format!("made from      {name}@")), "{shown}");

    // A stored model is not fetched again, and another precision needs no network.
    hub.requests();
    succeeds(hub.epitome().args(["pull", name, "--precision", "fp32", "--name", "exact"]));
    assert_eq!(asked(&hub.requests()), [""; 0]);
    let (list, _) = succeeds(hub.epitome().arg("models"));
    assert!(!list.contains("default"), "there are two now:\n{list}");
    let mut summarize = hub.epitome();
    fails(summarize.arg("summarize").arg(&article), 2, &["exact", name, "models default NAME"]);
    succeeds(hub.epitome().args(["models", "default", "exact"]));
    let (exact, _) = succeeds(hub.epitome().arg("summarize").arg(&article));
    assert_eq!(exact.lines().count(), 1);
    succeeds(hub.epitome().args(["models", "remove", "exact"]));
    let (again, _) = succeeds(hub.epitome().arg("summarize").arg(&article));
    assert_eq!(again, summary);
}

#[test]
fn without_a_model_the_commands_that_get_one_are_named() {
    let hub = Hub::start([]);
    let mut summarize = hub.epitome();
    let words = ["epitome pull", "export model.tar.gz", "epitome demo"];
    fails(summarize.arg("summarize").arg(fixture(ARTICLE)), 2, &words);
    let mut summarize = hub.epitome();
    summarize.args(["summarize", "--model", "facebook/bart-large-cnn"]).arg(fixture(ARTICLE));
    fails(&mut summarize, 2, &["not in the store", "epitome pull facebook/bart-large-cnn"]);
    fails(hub.epitome().args(["inspect", "./nowhere"]), 2, &["'./nowhere' does not exist"]);
    assert!(hub.requests().is_empty(), "nothing asks the hub unbidden");
    assert!(!hub.home("epitome").exists());
}

#[test]
fn an_archive_and_a_checkpoint_are_exported_for_one_run() {
    let hub = Hub::start([]);
    let (from_checkpoint, said) = succeeds(
        hub.epitome()
            .args(["summarize", "--model"])
            .arg(fixture("tiny/bart-gelu"))
            .arg(fixture(ARTICLE)),
    );
    assert_eq!(from_checkpoint.lines().count(), 1);
    assert!(said.contains("for this run only"), "{said}");
    let archive = fixture("pegasus-debian.tar.gz");
    let mut command = hub.epitome();
    succeeds(command.args(["summarize", "--model"]).arg(archive).arg(fixture(ARTICLE)));
}

#[test]
fn only_what_a_conversion_reads_is_fetched_and_lies_as_python_lays_it() {
    let hub = Hub::start([("google/pegasus-xsum", sharded())]);
    let fetched = fetch(&hub, "google/pegasus-xsum").unwrap();
    let expected = [
        "LICENSE",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(asked(&hub.requests()), expected);
    let commit = sharded().commit;
    let folder = hub.home("hf/hub/models--google--pegasus-xsum");
    assert_eq!(fetched.folder, folder.join("snapshots").join(&commit));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), commit);
    let shard = fetched.folder.join("model-00001-of-00002.safetensors");
    assert_eq!(fs::read(&shard).unwrap(), vec![1; 700_000]);
    let blob = folder.join("blobs").join(digest::bytes(&vec![1; 700_000]));
    assert_eq!(fs::canonicalize(&shard).unwrap(), fs::canonicalize(blob).unwrap());
    let link = fs::read_link(&shard).unwrap();
    assert!(link.starts_with("../../blobs"), "the cache can be moved: {link:?}");
    // The second time, the only request is for the commit.
    fetch(&hub, "google/pegasus-xsum").unwrap();
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let name = "model-00001-of-00002.safetensors";
    let hub = Hub::start([("a/b", sharded())]);
    let is_shard =
        move |request: &Request| request.method == "GET" && request.target.contains(name);
    // Each connection transfers a part of it.
    hub.harm(move |request| {
        (request.elsewhere && is_shard(request)).then_some(Harmed::Cut(200_000))
    });
    let fetched = fetch(&hub, "a/b").unwrap();
    assert_eq!(fs::read(fetched.folder.join(name)).unwrap(), vec![1; 700_000]);
    let ranges: Vec<_> = hub
        .requests()
        .iter()
        .filter(|request| request.elsewhere && is_shard(request))
        .map(|request| request.headers.get("range").cloned().unwrap_or_default())
        .collect();
    assert_eq!(ranges, ["", "bytes=200000-", "bytes=400000-", "bytes=600000-"]);
}

#[test]
fn what_arrived_is_kept_for_the_next_call() {
    let name = "model-00001-of-00002.safetensors";
    let hub = Hub::start([("a/b", sharded())]);
    hub.harm(|request| {
        let range = request.headers.contains_key("range");
        let shard = request.elsewhere && request.target.contains("model-00001");
        let gone = || Harmed::Answer((503, Vec::new(), Vec::new()));
        shard.then(|| if range { gone() } else { Harmed::Cut(300_000) })
    });
    let error = fetch(&hub, "a/b").unwrap_err();
    assert!(matches!(error, Error::BrokenOff { .. }), "{error}");
    assert!(error.to_string().contains("what arrived is kept"), "{error}");
    hub.requests();
    hub.harm(|_| None);
    let fetched = fetch(&hub, "a/b").unwrap();
    assert_eq!(fs::read(fetched.folder.join(name)).unwrap(), vec![1; 700_000]);
    let requests = hub.requests();
    let first = requests.iter().find(|r| r.elsewhere && r.target.contains(name)).unwrap();
    assert_eq!(first.headers["range"], "bytes=300000-");
    let left = files_below(&hub.home("hf"));
    assert!(!left.iter().any(|path| path.to_string_lossy().contains("incomplete")), "{left:?}");
}

#[test]
fn a_host_that_knows_no_ranges_sends_the_whole_file_again() {
    let hub = Hub::start([("a/b", sharded())]);
    hub.harm(|request| {
        let shard = request.elsewhere && request.target.contains("model-00001");
        match request.headers.contains_key("range") {
            _ if !shard => None,
            true => Some(Harmed::Edit(|_| (200, Vec::new(), vec![1; 700_000]))),
            false => Some(Harmed::Cut(1000)),
        }
    });
    let fetched = fetch(&hub, "a/b").unwrap();
    let shard = fs::read(fetched.folder.join("model-00001-of-00002.safetensors")).unwrap();
    assert_eq!(shard, vec![1; 700_000]);
}

#[test]
fn a_file_that_is_not_what_the_hub_said_is_not_taken() {
    type Edit = fn(server::Answer) -> server::Answer;
    let others: [(Edit, &str); 2] = [
        (|_| (200, Vec::new(), vec![9; 700_000]), "SHA-256"),
        (|_| (200, Vec::new(), vec![1; 700_001]), "longer than the hub said"),
    ];
    for (edit, words) in others {
        let hub = Hub::start([("a/b", sharded())]);
        hub.harm(move |request| {
            let shard = request.elsewhere && request.target.contains("model-00001");
            shard.then_some(Harmed::Edit(edit))
        });
        let error = fetch(&hub, "a/b").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        // Nothing of it stays, and the next attempt starts from the beginning.
        hub.harm(|_| None);
        fetch(&hub, "a/b").unwrap();
    }
}

#[test]
fn revisions_are_fetched_and_exported() {
    let mut repository = bart();
    repository.revisions = vec!["v1.0", "refs/pr/1"];
    let commit = repository.commit.clone();
    let hub = Hub::start([("t5-small", repository)]);
    let output = hub.home("bundle");
    for revision in ["v1.0", "refs/pr/1", &commit] {
        let source = format!("hf://t5-small@{revision}");
        succeeds(hub.epitome().args(["export", &source, "--output"]).arg(&output));
        let manifest: Value =
            serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["source"]["name"], format!("t5-small@{}", &commit[..12]));
        assert_eq!(manifest["precision"], "fp32");
    }
    let refs = hub.home("hf/hub/models--t5-small/refs");
    assert_eq!(fs::read_to_string(refs.join("refs/pr/1")).unwrap(), commit);
    assert!(!hub.home("epitome").exists(), "an export alone stores nothing");
    let page = "https://huggingface.co/t5-small/tree/v1.0";
    succeeds(hub.epitome().args(["export", page, "--output"]).arg(&output));
    let mut wrong = hub.epitome();
    wrong.args(["export", "hf://t5-small@v9", "--output"]).arg(&output);
    fails(&mut wrong, 1, &["t5-small has no revision 'v9'"]);
}

#[test]
fn an_adapter_is_pulled_with_its_base() {
    let adapter = || Repository::of(&fixture("adapters/lora"));
    let hub = Hub::start([("me/adapter", adapter()), ("epitome/bart", bart())]);
    succeeds(hub.epitome().args(["pull", "me/adapter", "--precision", "fp32"]));
    assert!(hub.home("hf/hub/models--epitome--bart/snapshots").is_dir());
    let (named, _) = succeeds(hub.epitome().arg("summarize").arg(fixture(ARTICLE)));

    let other = Hub::start([("other/bart", bart())]);
    let output = other.home("bundle");
    let export = |base: &[&str]| {
        let mut command = other.epitome();
        command.arg("export").arg(fixture("adapters/lora")).args(base).arg("--output").arg(&output);
        command
    };
    fails(&mut export(&[]), 2, &["epitome/bart", "--base", "its name on the hub"]);
    succeeds(&mut export(&["--base", "other/bart"]));
    let mut summarize = other.epitome();
    summarize.args(["summarize", "--model"]).arg(&output).arg(fixture(ARTICLE));
    assert_eq!(succeeds(&mut summarize).0, named);
}

#[test]
fn offline_and_without_a_network_the_cache_does() {
    let hub = Hub::start([("a/b", bart())]);
    let offline = |command: &[&str]| {
        let mut epitome = hub.epitome();
        epitome.args(command).env("HF_HUB_OFFLINE", "1");
        epitome
    };
    fails(&mut offline(&["pull", "a/b"]), 1, &["a/b is not in the cache", "HF_HUB_OFFLINE"]);
    assert!(hub.requests().is_empty());
    succeeds(hub.epitome().args(["pull", "a/b"]));
    succeeds(hub.epitome().args(["models", "remove", "a/b"]));
    hub.requests();
    succeeds(&mut offline(&["pull", "a/b"]));
    assert!(hub.requests().is_empty());
    let mut unreachable = hub.epitome();
    unreachable.args(["pull", "a/b"]).env("HF_ENDPOINT", "http://127.0.0.1:9");
    let (_, said) = succeeds(&mut unreachable);
    assert!(said.contains("cannot be reached") && said.contains("The cache has a/b"), "{said}");
    let mut unreachable = hub.epitome();
    unreachable.args(["pull", "c/d"]).env("HF_ENDPOINT", "http://127.0.0.1:9");
    fails(&mut unreachable, 1, &["http://127.0.0.1:9 cannot be reached", "are you online"]);
}

#[test]
fn a_part_of_a_model_in_the_cache_is_not_taken_for_the_whole() {
    let mut repository = sharded();
    let index = json!({"weight_map": {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }});
    let index = index.to_string().into_bytes();
    repository.files.insert("model.safetensors.index.json".into(), index);
    let commit = repository.commit.clone();
    let hub = Hub::start([("a/b", repository)]);
    let fetched = fetch(&hub, "a/b").unwrap();
    let of_commit = format!("a/b@{commit}");
    hub.requests();
    fetch(&hub, &of_commit).unwrap();
    assert!(hub.requests().is_empty(), "a commit that is there needs no question");
    fs::remove_file(fetched.folder.join("model-00002-of-00002.safetensors")).unwrap();
    fetch(&hub, &of_commit).unwrap();
    assert!(fetched.folder.join("model-00002-of-00002.safetensors").is_file());
}

#[test]
fn models_of_another_format_are_found_named_and_exported_again_from_the_cache() {
    let hub = Hub::start([("a/b", bart())]);
    succeeds(hub.epitome().args(["pull", "a/b"]));
    let manifest = hub.home("epitome/models/a--b/bundle/manifest.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    old["format"] = json!(0);
    fs::write(&manifest, old.to_string()).unwrap();
    let words = ["'a/b'", "format 0", "epitome models update a/b"];
    fails(hub.epitome().arg("summarize").arg(fixture(ARTICLE)), 1, &words);
    let (list, _) = succeeds(hub.epitome().arg("models"));
    assert!(list.contains("format 0"), "{list}");
    // The cache has the commit, even if the hub has lost the model.
    hub.harm(|_| Some(Harmed::Answer(refusal(404, "RepoNotFound", "Repository not found"))));
    hub.requests();
    succeeds(hub.epitome().args(["models", "update"]));
    assert!(hub.requests().is_empty());
    succeeds(hub.epitome().arg("summarize").arg(fixture(ARTICLE)));
    let (list, _) = succeeds(hub.epitome().arg("models"));
    assert!(list.contains("apache-2.0") && list.contains("int8"), "{list}");
    let (_, said) = succeeds(hub.epitome().args(["models", "update"]));
    assert!(said.contains("Nothing to do"), "{said}");
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let mut repository = bart();
    repository.gated = true;
    let hub = Hub::start([("meta/gated", repository)]);
    let page = format!("http://{}/meta/gated", hub.address);
    fails(hub.epitome().args(["pull", "meta/gated"]), 1, &["is gated", &page, "HF_TOKEN"]);
    hub.requests();
    succeeds(hub.epitome().args(["pull", "meta/gated"]).env("HF_TOKEN", TOKEN));
    let requests = hub.requests();
    assert!(requests.iter().any(|request| request.elsewhere));
    for request in requests {
        assert_eq!(
            request.headers.contains_key("authorization"),
            !request.elsewhere,
            "{request:?}"
        );
    }
    // The token file of the Python library works too.
    fs::write(hub.home("hf/token"), format!("{TOKEN}\n")).unwrap();
    fs::remove_dir_all(hub.home("hf/hub")).unwrap();
    succeeds(hub.epitome().args(["pull", "meta/gated"]));
    let mut odd = hub.epitome();
    odd.args(["pull", "meta/gated"]).env("HF_TOKEN", "hf_a\nX-Evil: b");
    let output = run(&mut odd);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("HF_TOKEN") && !said.contains("hf_a"), "{said}");
}

#[test]
fn refusals_say_what_to_do() {
    let hub = Hub::start([("a/b", bart())]);
    let pull = |id: &str| {
        let mut command = hub.epitome();
        command.args(["pull", id]);
        command
    };
    fails(&mut pull("nobody/nothing"), 1, &["no model 'nobody/nothing'", "private", "HF_TOKEN"]);
    for odd in ["../../etc", "a/b/c", "a b", "@v1", "a/b@", ""] {
        fails(&mut pull(odd), 2, &["is not the name of a model", "OWNER/NAME"]);
    }
    let mut command = pull("a/b");
    fails(command.args(["--name", "x/../y"]), 2, &["cannot be the name of a model"]);
    fails(pull("a/b").env("HF_ENDPOINT", "hub.example"), 2, &["HF_ENDPOINT", "https://HOST"]);
    hub.harm(|_| {
        Some(Harmed::Answer(refusal(401, "", "Invalid credentials in Authorization header")))
    });
    fails(pull("a/b").env("HF_TOKEN", "hf_old"), 1, &["refuses the token of HF_TOKEN"]);
    hub.harm(|_| Some(Harmed::Answer((404, Vec::new(), Vec::new()))));
    fails(&mut pull("a/b"), 1, &["no model 'a/b'"]);
    hub.harm(|_| Some(Harmed::Answer((500, Vec::new(), Vec::new()))));
    fails(&mut pull("a/b"), 1, &["answers 500"]);
    hub.harm(|_| {
        let headers = vec![("Content-Type", "text/html".to_owned())];
        Some(Harmed::Answer((200, headers, b"<html>Log in to the hotel's network".to_vec())))
    });
    fails(&mut pull("a/b"), 1, &["text/html and no JSON", "HF_ENDPOINT", "login page"]);
    assert!(files_below(&hub.home("epitome")).is_empty());
}

#[test]
fn a_model_that_cannot_be_exported_is_told_before_its_weights_are_fetched() {
    let mut repository = sharded();
    repository.files.insert("config.json".into(), br#"{"model_type": "llama"}"#.to_vec());
    let hub = Hub::start([("meta/llama", repository)]);
    fails(hub.epitome().args(["pull", "meta/llama"]), 1, &["'llama' is not supported", "bart"]);
    assert_eq!(asked(&hub.requests()), ["config.json"]);
}

/// A hub with this description of `a/b`.
fn describing(siblings: Value) -> Hub {
    let hub = Hub::start([("a/b", sharded())]);
    let description = json!({"sha": sharded().commit, "siblings": siblings}).to_string();
    hub.harm(move |request| {
        let api = request.target.starts_with("/api/");
        api.then(|| Harmed::Answer((200, Vec::new(), description.clone().into_bytes())))
    });
    hub
}

#[test]
fn hostile_descriptions_write_nothing_elsewhere() {
    for name in ["../../evil.json", "/etc/evil.json", "a/../../evil.json", "..\\evil.json"] {
        let hub = describing(json!([{"rfilename": name}, {"rfilename": "config.json"}]));
        let error = fetch(&hub, "a/b").unwrap_err();
        assert!(matches!(error, Error::RefusedFile { .. }), "{error}");
        assert!(!hub.home("").exists() || files_below(&hub.home("hf")).is_empty());
    }
    let size = 1_u64 << 60;
    let hub = describing(json!([
        {"rfilename": "config.json", "size": 22},
        {"rfilename": "model.safetensors", "size": size},
        {"rfilename": "tokenizer.json", "size": u64::MAX},
    ]));
    let error = fetch(&hub, "a/b").unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(asked(&hub.requests()), [""; 0]);
}

#[test]
fn hostile_headers_and_redirects_are_refused() {
    let with = |name: &'static str, value: &'static str| {
        let hub = Hub::start([("a/b", sharded())]);
        hub.harm(move |request| {
            let file = request.target.contains("/resolve/");
            file.then(|| Harmed::Answer((302, vec![(name, value.to_owned())], Vec::new())))
        });
        let error = fetch(&hub, "a/b").unwrap_err();
        let left = files_below(&hub.home("hf"));
        let known = |path: &PathBuf| path.ends_with("CACHEDIR.TAG");
        assert!(left.iter().all(known), "{name}: {value} left {left:?}");
        error.to_string()
    };
    for (name, value) in [
        ("X-Linked-Etag", "\"../../../evil\""),
        ("X-Linked-Etag", "\"..\""),
        ("ETag", "\"\""),
        ("Location", "file:///etc/passwd"),
        ("Location", "evil"),
        ("Location", "/a/b/resolve/main/again"),
    ] {
        let message = with(name, value);
        assert!(message.contains("does not answer as the hub does"), "{name} {value}: {message}");
    }
    // Small files without a size, and answers that never end.
    let hub = Hub::start([("a/b", sharded())]);
    hub.harm(|request| {
        let head = request.method == "HEAD";
        head.then_some(Harmed::Edit(|(status, mut headers, body)| {
            headers.retain(|(name, _)| *name != "X-Linked-Size" && *name != "Content-Length");
            headers.push(("Content-Length", "-5".to_owned()));
            (status, headers, body)
        }))
    });
    assert!(fetch(&hub, "a/b").is_err());
}

#[test]
fn settings_name_the_cache_and_the_store() {
    let hub = Hub::start([("a/b", bart())]);
    let cache = hub.home("elsewhere");
    succeeds(hub.epitome().args(["pull", "a/b"]).env("HF_HUB_CACHE", &cache));
    assert!(cache.join("models--a--b/snapshots").is_dir());
    assert!(!hub.home("hf").exists());
    assert!(hub.home("epitome/models/a--b/model.json").is_file());
    let record = fs::read(hub.home("epitome/models/a--b/model.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["id"], "a/b");
    assert_eq!(record["commit"], json!(bart().commit));
    assert_eq!(record["license"]["id"], "apache-2.0");
    let license = fs::read_to_string(hub.home("epitome/models/a--b/LICENSE")).unwrap();
    assert_eq!(license, "Do as you like.");
}

#[test]
fn serve_without_a_model_says_what_gets_one() {
    if Path::new("/opt/ml/model").exists() {
        return;
    }
    let hub = Hub::start([]);
    fails(hub.epitome().args(["serve", "--port", "0"]), 2, &["epitome pull", "epitome demo"]);
}

#[test]
fn the_configuration_file_has_what_is_not_given() {
    let hub = Hub::start([("a/one", bart()), ("a/two", bart())]);
    succeeds(hub.epitome().args(["pull", "a/one"]));
    succeeds(hub.epitome().args(["pull", "a/two"]));
    let file = hub.home("config/epitome/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "model = 'a/two'\nformat = 'json'\nthreads = 1\n").unwrap();
    let mut from_file = hub.epitome();
    from_file.env_remove(THREADS).arg("summarize").arg(fixture(ARTICLE));
    let (json, _) = succeeds(&mut from_file);
    assert!(json.starts_with('{'), "{json}");
    let mut flags = hub.epitome();
    let (plain, _) = succeeds(
        flags.args(["summarise", "--format", "text", "--num_beams", "1"]).arg(fixture(ARTICLE)),
    );
    assert!(!plain.starts_with('{'), "{plain}");
    let (report, _) = succeeds(hub.epitome().arg("doctor"));
    assert!(report.contains("model = a/two"), "{report}");
    fs::write(&file, "modle = 'a/two'\n").unwrap();
    let words = ["config.toml", "unknown key 'modle'", "model, length"];
    fails(hub.epitome().arg("summarize").arg(fixture(ARTICLE)), 2, &words);
    succeeds(hub.epitome().arg("--help"));
}

#[test]
fn the_doctor_shows_what_is_found_and_no_secrets() {
    let hub = Hub::start([("a/b", bart())]);
    succeeds(hub.epitome().args(["pull", "a/b"]));
    let mut doctor = hub.epitome();
    doctor.arg("doctor").env("HF_TOKEN", "hf_secret");
    // A proxy that no request to this hub goes through.
    doctor.env("HTTPS_PROXY", "http://me:secret@127.0.0.1:9").env("NO_PROXY", "127.0.0.1");
    let (report, _) = succeeds(&mut doctor);
    for words in [
        "ONNX Runtime   1.",
        "kernels",
        "threads",
        "(1 model)",
        "default model  a/b",
        "HTTPS_PROXY=http://...@127.0.0.1:9",
        "hub token      HF_TOKEN",
        "answers in",
    ] {
        assert!(report.contains(words), "'{words}' is missing in:\n{report}");
    }
    assert!(!report.contains("secret"), "{report}");
    let mut offline = hub.epitome();
    let (report, _) = succeeds(offline.arg("doctor").env("HF_HUB_OFFLINE", "1"));
    assert!(report.contains("not asked"), "{report}");
    fs::remove_file(hub.home("epitome/models/a--b/bundle/weights.bin")).unwrap();
    let output = run(hub.epitome().arg("doctor"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("! a/b has to be exported again"));
}

#[test]
fn completions_and_manual_pages_have_every_command() {
    let hub = Hub::start([]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = succeeds(hub.epitome().args(["completions", shell]));
        for command in ["summarize", "pull", "models", "doctor"] {
            assert!(script.contains(command), "{command} is missing for {shell}");
        }
    }
    let folder = hub.home("man1");
    succeeds(hub.epitome().arg("man").arg(&folder));
    for page in ["epitome.1", "epitome-pull.1", "epitome-summarize.1", "epitome-models-remove.1"] {
        let page = fs::read_to_string(folder.join(page)).unwrap();
        assert!(page.contains(".TH"), "{page}");
    }
}
