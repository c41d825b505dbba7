//! Tests of faults of networks, S3 and credentials.

use std::fs;
use std::time::Duration;

use super::server::{Reaction, Request, Server};
use super::{
    ARTIFACT, KEY, RANGE, export, export_fails, put_artifact, put_tiny, same_but_for_the_name, uri,
    works,
};
use crate::common::{fails, fixture};

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    // Each of the first answers breaks off at another position.
    let server = Server::with(|request| match request.number {
        number if number < 8 && request.headers.contains_key("range") => {
            Reaction::Cut(100_000 * number)
        }
        _ => Reaction::Pass,
    });
    put_artifact(&server);
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    works(&mut export(&server, fixture(ARTIFACT).to_str().unwrap(), &here));
    works(&mut export(&server, &uri(KEY), &there));
    same_but_for_the_name(&here, &there, &uri(KEY));
    let requests = server.requests();
    let resumed = requests.iter().filter(|request| {
        let is_start = request.is_range_from(0) || request.is_range_from(RANGE);
        request.headers.contains_key("range") && !is_start
    });
    assert!(resumed.count() > 2, "{requests:?}");
}

#[test]
fn a_connection_that_stays_broken_is_given_up() {
    let server = Server::with(|request| match request.is_range_from(RANGE) {
        true => Reaction::Cut(0),
        false => Reaction::Pass,
    });
    put_artifact(&server);
    export_fails(&server, 1, &["broke 6 times in a row", "at byte 8388608", &uri(KEY)]);
}

#[test]
fn an_object_that_is_changed_between_ranges_is_noticed() {
    const CHANGED: &str = "<Error><Code>PreconditionFailed</Code></Error>";
    let answers = Server::with(|request| match request.is_range_from(RANGE) {
        true => Reaction::Answer(412, "", CHANGED),
        false => Reaction::Pass,
    });
    // A server that ignores If-Match sends the new version.
    let ignores = Server::with(|request| match request.is_range_from(RANGE) {
        true => Reaction::Edit(|head| head.replace("etag: \"", "etag: \"0")),
        false => Reaction::Pass,
    });
    for server in [answers, ignores] {
        put_artifact(&server);
        export_fails(&server, 1, &[&uri(KEY), "was changed while it was being read"]);
    }
}

#[test]
fn a_wrong_length_is_noticed() {
    let server = Server::with(|request| match request.headers.contains_key("range") {
        true => Reaction::Answer(200, "etag: \"0\"\r\n", "more or less"),
        false => Reaction::Edit(|head| {
            let kept = head.lines().filter(|line| !line.to_lowercase().starts_with("etag"));
            let kept: Vec<_> = kept.filter(|line| !line.is_empty()).collect();
            format!("{}\r\netag: \"0\"\r\n\r\n", kept.join("\r\n"))
        }),
    });
    put_tiny(&server);
    export_fails(&server, 1, &[&uri(KEY), "wrong length", "12 bytes"]);
}

#[test]
fn what_arrives_is_held_against_the_checksum_that_is_stored() {
    // A checksum of other bytes. It takes precedence over the ETag.
    const HEADER: &str = "x-amz-checksum-crc32: y/Q5Jg==\r\n\r\n";
    let server = Server::with(|request| match request.method.as_str() {
        "HEAD" => Reaction::Edit(|head| head.replace("\r\n\r\n", "\r\n") + HEADER),
        _ => Reaction::Pass,
    });
    put_tiny(&server);
    export_fails(&server, 1, &[&uri(KEY), "arrived damaged", "CRC32"]);
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start();
    export_fails(&server, 2, &[&uri(KEY), "does not exist", "model.tar.gz"]);
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("bundle");
    for source in ["s3://nowhere/model.tar.gz", "s3://nowhere/"] {
        let mut command = export(&server, source, &output);
        fails(&mut command, 2, &["the bucket of s3://nowhere/", "does not exist"]);
    }
    fails(&mut export(&server, "s3://x", &output), 2, &["s3://x", "s3://BUCKET/KEY"]);
    // This server would create the bucket.
    let server = Server::with(|request| match request.target.starts_with("/nowhere/") {
        true => Reaction::Answer(404, "", "<Error><Code>NoSuchBucket</Code></Error>"),
        false => Reaction::Pass,
    });
    let mut command = export(&server, &uri(KEY), "s3://nowhere/bundles/");
    fails(&mut command, 2, &["the bucket of s3://nowhere/", "does not exist"]);
}

#[test]
fn refusals_of_s3_are_one_sentence_each() {
    struct Case(u16, &'static str, &'static str, &'static [&'static str]);
    let cases = [
        Case(
            403,
            "",
            "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            &["access to", "was denied", "s3:GetObject"],
        ),
        Case(
            301,
            "x-amz-bucket-region: us-west-2\r\n",
            "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.amazonaws.com</Endpoint></Error>",
            &["is in the region us-west-2, not in eu-west-1", "AWS_REGION=us-west-2"],
        ),
        Case(
            400,
            "x-amz-bucket-region: us-west-2\r\n",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region></Error>",
            &["is in the region us-west-2"],
        ),
        Case(
            400,
            "",
            "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>",
            &["credentials have expired"],
        ),
        Case(
            403,
            "",
            "<Error><Code>InvalidAccessKeyId</Code></Error>",
            &["does not accept the credentials (InvalidAccessKeyId)"],
        ),
        Case(
            403,
            "",
            "<Error><Code>InvalidObjectState</Code></Error>",
            &["is archived", "restore-object"],
        ),
        Case(
            400,
            "",
            "<Error><Code>NewTrouble</Code><Message>Of a new kind</Message></Error>",
            &["refused", "Of a new kind (NewTrouble)"],
        ),
    ];
    for Case(status, headers, body, words) in cases {
        let server = Server::with(move |_: &Request| Reaction::Answer(status, headers, body));
        export_fails(&server, 1, words);
    }
}

#[test]
fn credentials_that_are_missing_wrong_or_expired_are_told_apart() {
    let server = Server::start();
    put_tiny(&server);
    let target = tempfile::tempdir().unwrap();
    let export = || export(&server, &uri(KEY), target.path().join("bundle"));
    let mut none = export();
    none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    fails(&mut none, 1, &["no AWS credentials were found", "AWS_PROFILE"]);
    let mut wrong = export();
    wrong.env("AWS_SECRET_ACCESS_KEY", "another");
    fails(&mut wrong, 1, &["does not accept the credentials (SignatureDoesNotMatch)"]);
    // A profile works like the environment.
    let files = target.path().join("credentials");
    let (id, secret) = ("AKIDTEST", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let profile = format!("[mine]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(&files, profile).unwrap();
    let mut profile = export();
    profile.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    profile.env("AWS_SHARED_CREDENTIALS_FILE", &files).env("AWS_PROFILE", "mine");
    works(&mut profile);
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let server = Server::start();
    let target = tempfile::tempdir().unwrap();
    let mut command = export(&server, &uri(KEY), target.path().join("bundle"));
    // Port 9 is the discard port, if anything listens there.
    command.env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9");
    fails(&mut command, 1, &["S3 cannot be reached", "refused"]);
}

/// Tests of Unix signals.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_download_that_hangs() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let server = Server::with(|request| {
        if request.is_range_from(RANGE) {
            std::thread::sleep(Duration::from_secs(20));
        }
        Reaction::Pass
    });
    put_artifact(&server);
    let target = tempfile::tempdir().unwrap();
    let mut command = export(&server, &uri(KEY), target.path().join("bundle"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, format!("Fetching and unpacking {} ...", uri(KEY)));
    crate::common::signal(child.id(), "INT");
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest, ["epitome: interrupted"]);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}
