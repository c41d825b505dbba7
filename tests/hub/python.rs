//! Uses the same hub and cache with Python's huggingface_hub, from EPITOME_PYTHON. Each side finds
//! files that the other fetched, and the library accepts the hub of the tests.
//!
//!     EPITOME_PYTHON=.venv/bin/python cargo test --test hub_python

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the suite uses the rest of it")]
mod common;
#[allow(dead_code, reason = "the suite uses the rest of it")]
mod server;

use std::env;
use std::path::Path;
use std::process::Command;

use common::{fixture, run, text};
use server::{Hub, Repository, TOKEN};

const OFFLINE: (&str, &str) = ("HF_HUB_OFFLINE", "1");

fn repository() -> Repository {
    let mut repository = Repository::of(&fixture("tiny/bart-gelu"));
    repository.revisions = vec!["v1.0", "refs/pr/1"];
    repository
}

/// The output of the library.
#[track_caller]
fn python(hub: &Hub, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let program = env::var_os("EPITOME_PYTHON").expect("EPITOME_PYTHON names a Python");
    let mut command = Command::new(program);
    hub.environment(&mut command);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/peer.py"));
    command.args(arguments).envs(variables.iter().copied());
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[track_caller]
fn export(hub: &Hub, id: &str, variables: &[(&str, &str)]) {
    let mut command = hub.epitome();
    command.args(["export", &format!("hf://{id}"), "--output"]).arg(hub.home("bundle"));
    let output = run(command.envs(variables.iter().copied()));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn python_finds_what_epitome_fetched() {
    let names = ["google/pegasus-xsum", "t5-small"];
    let hub = Hub::start(names.map(|name| (name, repository())));
    for id in ["google/pegasus-xsum", "google/pegasus-xsum@v1.0", "t5-small@refs/pr/1"] {
        export(&hub, id, &[]);
        hub.requests();
        let path = python(&hub, &["file", id, "model.safetensors"], &[OFFLINE]);
        assert_eq!(std::fs::read(path).unwrap(), repository().files["model.safetensors"], "{id}");
        python(&hub, &["snapshot", id], &[OFFLINE]);
        assert!(hub.requests().is_empty());
        // Even with a network it fetches none of these files again.
        python(&hub, &["snapshot", id], &[]);
        let fetched = hub.requests().into_iter().find(|request| request.elsewhere);
        assert!(fetched.is_none(), "{fetched:?}");
    }
}

#[test]
fn epitome_finds_what_python_fetched() {
    let names = ["sshleifer/distilbart-cnn-12-6", "t5-small"];
    let hub = Hub::start(names.map(|name| (name, repository())));
    for id in ["sshleifer/distilbart-cnn-12-6", "t5-small@refs/pr/1"] {
        python(&hub, &["snapshot", id], &[]);
        hub.requests();
        export(&hub, id, &[OFFLINE]);
        assert!(hub.requests().is_empty());
        export(&hub, id, &[]);
        assert_eq!(hub.requests().len(), 1, "one question after the commit is all");
    }
}

#[test]
fn python_takes_the_refusals_for_the_hubs() {
    let gated = Repository { gated: true, ..repository() };
    let hub = Hub::start([("meta/gated", gated), ("a/b", repository())]);
    let refused = |id: &str| python(&hub, &["refused", id], &[]);
    assert_eq!(refused("meta/gated"), "GatedRepoError");
    assert_eq!(refused("nobody/nothing"), "RepositoryNotFoundError");
    assert_eq!(refused("a/b@v9"), "RevisionNotFoundError");
    hub.requests();
    python(&hub, &["snapshot", "meta/gated"], &[("HF_TOKEN", TOKEN)]);
    let (elsewhere, hubs): (Vec<_>, Vec<_>) =
        hub.requests().into_iter().partition(|request| request.elsewhere);
    let with_token = |request: &server::Request| request.headers.contains_key("authorization");
    assert!(hubs.iter().any(with_token));
    assert!(!elsewhere.iter().any(with_token));
}
