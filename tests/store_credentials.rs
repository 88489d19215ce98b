//! Where credentials come from, and that renewed ones are seen. The environment belongs to a whole process, so each case
//! runs in a child: this program again, told which case it is.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atfs::store::{Key, S3Options, S3Store, Store, StoreErrorKind};
use bytes::Bytes;
use futures_util::future::join_all;
use support::model::{ACCESS, BUCKET, Mode, Model, SECOND, SECRET};

const CASE: &str = "ATFS_TEST_CASE";

/// Runs the case `name` of [`child`] with a home folder whose credentials file is `file`, and nothing else of AWS's.
fn run_case(name: &str, file: &str, environment: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), file).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("HOME", home.path()).env(CASE, name);
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("AWS_")) {
        command.env_remove(variable);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn profile(name: &str, access: &str, secret: &str) -> String {
    format!("[{name}]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
}

#[test]
fn a_token_renewed_in_the_file_is_seen() {
    run_case("renewed", &profile("default", ACCESS, SECRET), &[]);
}

#[test]
fn environment_before_default_profile() {
    let good = [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    run_case("works", &profile("default", "NOBODY", "x"), &good);
}

#[test]
fn a_profile_asked_for_by_name_before_the_environment() {
    let bad = [("AWS_ACCESS_KEY_ID", "NOBODY"), ("AWS_SECRET_ACCESS_KEY", "x")];
    run_case("named profile works", &profile("mine", ACCESS, SECRET), &bad);
}

#[test]
fn an_external_process() {
    let answer = format!(r#"{{"Version":1,"AccessKeyId":"{ACCESS}","SecretAccessKey":"{SECRET}"}}"#);
    run_case("works", &format!("[default]\ncredential_process = echo '{answer}'\n"), &[]);
}

#[test]
fn an_endpoint_in_the_environment() {
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        run_case("endpoint of the environment", "", &[(variable, "http://127.0.0.1:1")]);
    }
    run_case("AWS itself", "", &[("AWS_REGION", "eu-west-1")]);
}

/// Off AWS nobody waits for the metadata service.
#[test]
fn none_at_all_is_said_at_once() {
    run_case("none", "", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    // By itself it is nobody's child and has nothing to do.
    let Ok(case) = std::env::var(CASE) else { return };
    let model = Model::start(Mode::Honest).await;
    let found = S3Options { keys: None, ..model.options() };
    let open = async |options: S3Options| S3Store::open(BUCKET, "", &options).await.unwrap();
    let (key, body) = (Key::new("k"), Bytes::from_static(b"1"));
    match case.as_str() {
        "works" => open(found).await.put(&key, body).await.unwrap(),
        "named profile works" => {
            let options = S3Options { profile: Some("mine".into()), ..found };
            open(options).await.put(&key, body).await.unwrap();
        }
        "renewed" => {
            let store = open(found).await;
            store.put(&key, body.clone()).await.unwrap();
            // Whoever renews tokens puts the next one into the file before the old one ends.
            let file = Path::new(&std::env::var("HOME").unwrap()).join(".aws/credentials");
            std::fs::write(&file, profile("default", SECOND, SECRET)).unwrap();
            store.get(&key).await.unwrap();
            model.expire(ACCESS);
            // Many are refused at once: all are sent again, creations too, as a refusal has no effect.
            let keys: Vec<_> = (0..16).map(|n| Key::new(format!("many/{n}"))).collect();
            for result in join_all(keys.iter().map(|key| store.put_new(key, body.clone()))).await {
                result.unwrap();
            }
            model.expire(SECOND);
            let error = store.get(&key).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Credentials, "{error}");
        }
        "endpoint of the environment" => {
            let place = open(S3Options { endpoint_url: None, region: None, ..found }).await.describe();
            assert_eq!(place, "s3://bucket (endpoint http://127.0.0.1:1)");
        }
        "AWS itself" => {
            let place = open(S3Options { endpoint_url: None, region: None, ..found }).await.describe();
            assert_eq!(place, "s3://bucket (AWS, region eu-west-1)");
        }
        "none" => {
            let began = Instant::now();
            let error = open(found).await.get(&key).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Credentials, "{error}");
            assert!(error.to_string().contains("no usable credentials"), "{error}");
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
        other => panic!("no case {other:?}"),
    }
}
