//! Everything that is wrong with a bucket, its endpoint, or the rights in it, as the program tells it.

use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::machine::Machine;
use crate::support::canned::{Canned, Then, response};
use crate::support::model::{ACCESS, Mode, SECRET};
use crate::support::servers::free_port;

/// An error in three parts: what happened and why, and the command to run next.
#[test]
fn a_bucket_that_refuses() {
    let machine = Machine::new();
    for (mode, url, why, hint) in [
        (
            Mode::Honest,
            "s3://no-such-bucket/r",
            "HTTP 404 NoSuchBucket no such bucket",
            "check the name and the endpoint; `atfs doctor s3://no-such-bucket/r` shows both; `aws s3 mb \
             s3://no-such-bucket` makes a bucket",
        ),
        (
            Mode::Denies,
            "s3://bucket/r",
            "HTTP 403 AccessDenied no",
            "ask for s3:GetObject and s3:ListBucket there, and to write for s3:PutObject; `atfs doctor s3://bucket/r` \
             shows who you are",
        ),
        (
            Mode::ExpiredToken,
            "s3://bucket/r",
            "HTTP 400 ExpiredToken The provided token has expired.",
            "log in again (such as `aws sso login`) or set AWS_PROFILE or AWS_ACCESS_KEY_ID; `atfs doctor \
             s3://bucket/r` shows where credentials come from",
        ),
        (
            Mode::Skewed,
            "s3://bucket/r",
            "HTTP 403 RequestTimeTooSkewed The difference between the request time and the server's time is too large.",
            "set this machine's clock: `timedatectl set-ntp true`; `atfs doctor s3://bucket/r` compares it with the store's",
        ),
    ] {
        let bucket = Bucket::new(mode);
        let told =
            format!("error: get of \"format.json\" in {url} (endpoint ENDPOINT): {why}\nhint: {hint}\n");
        for command in [&["ls", url][..], &["init", url], &["add", url, "/etc/hostname"], &["branch", url]] {
            assert_eq!(bucket.fails(&machine, 1, command), told, "{mode:?} {command:?}");
        }
        // The daemon met the error, and the command line still knows what to do about it.
        std::fs::create_dir_all(machine.path("mnt")).unwrap();
        let err = bucket.fails(&machine, 1, &["mount", url, "DIR/mnt"]);
        assert!(err.contains(why) && err.contains("\nhint: "), "{err}");
        assert_eq!(err.lines().count(), 2, "{err}");
    }
}

#[test]
fn nothing_listens_at_the_endpoint() {
    let machine = Machine::new();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let mut command = machine.command(&["ls", "s3://bucket/r", "--endpoint-url", &endpoint]);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let began = Instant::now();
    let ran = machine.finish(command);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let begins = format!(
        "error: get of \"format.json\" in s3://bucket/r (endpoint {endpoint}): no connection: Connection refused (os error \
         111) (given up after "
    );
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with(&begins), "{ran:?}");
    assert!(
        ran.err.ends_with(
            "\nhint: check the network and the endpoint (--endpoint-url, AWS_ENDPOINT_URL); `atfs doctor s3://bucket/r` \
             tests both\n"
        ),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
}

#[test]
fn what_answers_is_not_s3() {
    let machine = Machine::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let html = |status: &'static str| {
        move |_: &str| response(status, &[("content-type", "text/html")], b"<html>It works!</html>")
    };
    for status in ["200 OK", "403 Forbidden", "404 Not Found"] {
        let server = runtime.block_on(Canned::start(html(status), Then::Close));
        for command in [&["ls", "s3://bucket/r"][..], &["init", "s3://bucket/r"]] {
            let mut command = machine.command(command);
            command.env("AWS_ENDPOINT_URL", &server.endpoint);
            command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
            let ran = machine.finish(command);
            assert_eq!((ran.code, ran.err.lines().count()), (1, 2), "{status}: {ran:?}");
            assert!(ran.err.contains("S3"), "{status}: {ran:?}");
            assert!(
                ran.err.ends_with(
                    "\nhint: check that the endpoint is an S3 server; `atfs doctor s3://bucket/r` tests it\n"
                ),
                "{status}: {ran:?}"
            );
        }
    }
}

#[test]
fn no_credentials_at_all() {
    let machine = Machine::new();
    let run = |variables: &[(&str, &str)]| {
        let mut command = machine.command(&["ls", "s3://bucket/r"]);
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").envs(variables.iter().copied());
        machine.finish(command)
    };
    let ran = run(&[]);
    assert_eq!((ran.code, ran.err.lines().count()), (1, 2), "{ran:?}");
    assert!(
        ran.err.contains(
            "no usable credentials: none in the environment (AWS_ACCESS_KEY_ID), nor in profile default"
        ),
        "{ran:?}"
    );
    assert!(ran.err.contains("hint: log in again (such as `aws sso login`) or set AWS_PROFILE"), "{ran:?}");
    machine.write("home/.aws/credentials", b"[mine]\naws_access_key_id = a\naws_secret_access_key = b\n");
    let ran = run(&[("AWS_PROFILE", "misspelt")]);
    assert!(
        ran.err.contains("nor in profile misspelt of ~/.aws (profile `misspelt` was not defined"),
        "{ran:?}"
    );
}

/// Two writers would overwrite each other's commits there.
#[test]
fn stores_without_sound_conditional_writes_are_refused() {
    for (mode, why) in [
        (Mode::IgnoresConditions, ""),
        (Mode::RacyBeforeBody, ""),
        (Mode::RacyAfterBody, ""),
        (Mode::NoConditions, "NotImplemented"),
    ] {
        let (machine, bucket) = (Machine::new(), Bucket::new(mode));
        let err = bucket.fails(&machine, 1, &["init", "s3://bucket/r"]);
        assert!(err.starts_with("error: no repository can be kept here: "), "{mode:?}: {err}");
        assert!(err.contains(why), "{mode:?}: {err}");
        assert!(
            err.contains(
                "\nhint: use a store with conditional writes (If-None-Match), such as AWS S3, Ceph or MinIO"
            ),
            "{mode:?}: {err}"
        );
        assert_eq!(err.lines().count(), 2, "{mode:?}: {err}");
        let objects = bucket.model.objects.lock().unwrap();
        let left: Vec<&String> = objects.keys().filter(|key| !key.contains("/probe/")).collect();
        assert!(left.is_empty(), "{mode:?} wrote {left:?}");
    }
}

/// A store that turned unsound later: the doctor sees it, and a machine that has not probed it yet writes nothing.
#[test]
fn a_store_that_turned_unsound_is_not_written_to() {
    let (machine, bucket) = (Machine::new(), Bucket::new(Mode::Honest));
    bucket.ok(&machine, &["init", "s3://bucket/r"]);
    bucket.model.behave(Mode::IgnoresConditions);
    let report = bucket.run(&machine, &["doctor", "s3://bucket/r"]);
    assert_eq!(report.code, 3, "{report:?}");
    assert!(report.out.contains("FAIL  writing"), "{report:?}");
    assert!(!report.out.contains("`atfs doctor"), "the doctor does not send to the doctor: {report:?}");
    let another = Machine::new();
    let err = bucket.fails(&another, 1, &["add", "s3://bucket/r", "/etc/hostname"]);
    assert!(err.starts_with("error: no repository can be kept here: "), "{err}");
    assert_eq!(bucket.ok(&another, &["ls", "s3://bucket/r"]), "", "reading needs no conditions");
}

/// Who one is there and where that is written, and never the secret.
#[test]
fn the_doctor_names_the_source_of_credentials() {
    let (machine, bucket) = (Machine::new(), Bucket::new(Mode::Honest));
    bucket.ok(&machine, &["init", "s3://bucket/r"]);
    let line = |ran: &crate::machine::Ran, name: &str| {
        assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{ran:?}");
        ran.out
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("no {name}: {ran:?}"))
            .to_owned()
    };
    let ran = bucket.run(&machine, &["doctor", "s3://bucket/r"]);
    assert_eq!(
        line(&ran, "credentials").trim(),
        "ok    credentials   from the environment (AWS_ACCESS_KEY_ID): access key ...CESS"
    );
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let endpoint = ["endpoint_url", "ENDPOINT", "environment", "AWS_ENDPOINT_URL"];
    assert_eq!(words(&line(&ran, "endpoint_url")), endpoint);
    assert!(line(&ran, " skew ").contains("as the store's, within 5 s"), "{ran:?}");

    let keys = format!("[mine]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n");
    machine.write("home/.aws/credentials", keys.as_bytes());
    let mut command = machine.command(&["doctor", "s3://bucket/r", "--read-only"]);
    command.env("AWS_ENDPOINT_URL", &bucket.model.endpoint).env("AWS_PROFILE", "mine");
    let ran = machine.finish(command);
    assert_eq!(
        line(&ran, "credentials").trim(),
        "ok    credentials   from profile mine of ~/.aws: access key ...CESS"
    );
    assert_eq!(words(&line(&ran, "aws_profile")), ["aws_profile", "mine", "environment", "AWS_PROFILE"]);

    // A refusal carries the store's time, too.
    bucket.model.behave(Mode::Skewed);
    let ran = bucket.run(&machine, &["doctor", "s3://bucket/r"]);
    assert!(line(&ran, " skew ").contains("as the store's, within 5 s"), "{ran:?}");
    assert!(line(&ran, "reading").contains("RequestTimeTooSkewed"), "{ran:?}");
    assert!(ran.out.contains("→ set this machine's clock") && !ran.out.contains("`atfs doctor"), "{ran:?}");
}

/// The two lines of a person; what the SDK knows beyond them comes with -vv.
#[test]
fn the_sdks_own_words_are_in_the_log() {
    let (machine, bucket) = (Machine::new(), Bucket::new(Mode::Denies));
    let ran = bucket.run(&machine, &["-vv", "ls", "s3://bucket/r"]);
    assert!(ran.err.contains("the SDK's error: ") && ran.err.contains("ServiceError"), "{ran:?}");
    assert!(!ran.err.contains(SECRET), "{ran:?}");
}

/// The whole way through a bucket.
#[test]
fn a_repository_in_a_bucket() {
    let (machine, bucket) = (Machine::new(), Bucket::new(Mode::Honest));
    let url = "s3://bucket/deep/r";
    bucket.ok(&machine, &["init", url, "--name", "slides"]);
    machine.write("a.txt", b"hello\n");
    bucket.ok(&machine, &["add", url, "DIR/a.txt"]);
    assert_eq!(bucket.ok(&machine, &["cat", &format!("{url}@main:a.txt")]), "hello\n");
    let keys: Vec<String> = bucket.model.objects.lock().unwrap().keys().cloned().collect();
    assert!(keys.iter().all(|key| key.starts_with("deep/r/")), "{keys:?}");
}
