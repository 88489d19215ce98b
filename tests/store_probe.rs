//! The probe against stores that keep their conditions and stores that do not, over HTTP.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use atfs::store::{LocalStore, ProbeFailure, ProbeReport, S3Store, Store, StoreOptions, probe};
use atfs::types::{OsRandom, RepoUrl};
use support::model::{BUCKET, Mode, Model};
use support::servers;

/// As `init` does it: through the limit and the retries.
async fn probe_model(mode: Mode) -> Result<ProbeReport, ProbeFailure> {
    let model = Model::start(mode).await;
    let url = RepoUrl::S3 { bucket: BUCKET.into(), prefix: "root".into() };
    let options = StoreOptions { s3: model.options(), ..StoreOptions::default() };
    let store = atfs::store::open(&url, &options).await.unwrap().store;
    let result = probe(&*store, &OsRandom).await;
    let left = model.objects.lock().unwrap().len();
    if mode != Mode::KeepsObjects {
        assert_eq!(left, 0, "{mode:?} was left unclean");
    }
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_twenty_honest_stores_pass() {
    for _ in 0..20 {
        let report = probe_model(Mode::Honest).await.unwrap();
        assert_eq!((report.rounds, report.unclear_answers, report.left_over), (8, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_twenty_ignoring_stores_are_refused() {
    for _ in 0..20 {
        let failure = probe_model(Mode::IgnoresConditions).await.unwrap_err();
        assert!(matches!(failure, ProbeFailure::IgnoresCondition { .. }), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_twenty_racy_stores_are_refused() {
    for mode in [Mode::RacyBeforeBody, Mode::RacyAfterBody] {
        for _ in 0..20 {
            let failure = probe_model(mode).await.unwrap_err();
            assert!(matches!(failure, ProbeFailure::Racy { .. }), "{mode:?}: {failure}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_answers_passes() {
    let report = probe_model(Mode::LosesAnswers).await.unwrap();
    assert!(report.unclear_answers > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_say_why() {
    let failure = probe_model(Mode::NoConditions).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::Unsupported(_)), "{failure}");
    let failure = probe_model(Mode::Denies).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::Store(_)), "{failure}");
    assert!(failure.to_string().contains("AccessDenied"), "{failure}");
    let report = probe_model(Mode::KeepsObjects).await.unwrap();
    assert_eq!(report.left_over, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_folder_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    let report = probe(&store, &OsRandom).await.unwrap();
    assert_eq!((report.unclear_answers, report.left_over), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_passes() {
    if let Some(server) = servers::ministack() {
        let report = probe(&server.new_store().await, &OsRandom).await.unwrap();
        eprintln!("ministack: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn radosgw_passes_unless_the_bucket_is_versioned() {
    let Some(server) = servers::radosgw() else { return };
    let bucket = server.new_bucket().await;
    let store: Arc<dyn Store> = Arc::new(S3Store::open(&bucket, "", &server.options()).await.unwrap());
    for _ in 0..3 {
        let report = probe(&*store, &OsRandom).await.unwrap();
        eprintln!("radosgw: {report:?}");
    }
    // Found by measurement: radosgw 16 ignores the condition as soon as versioning is on.
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = server.client().put_bucket_versioning().bucket(&bucket).versioning_configuration(on);
    request.send().await.unwrap();
    let failure = probe(&*store, &OsRandom).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::IgnoresCondition { .. }), "{failure}");
}

/// For `scripts/check-refused-stores`: the store that the environment names (`ATFS_REFUSED_BUCKET`, `AWS_ENDPOINT_URL`,
/// keys) is refused 20 times of 20. Without the variable there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_store_is_refused() {
    let Ok(bucket) = std::env::var("ATFS_REFUSED_BUCKET") else { return };
    let url = RepoUrl::S3 { bucket, prefix: String::new() };
    let store = atfs::store::open(&url, &StoreOptions::default()).await.unwrap().store;
    for round in 1..=20 {
        let failure = probe(&*store, &OsRandom).await.unwrap_err();
        let expected = matches!(failure, ProbeFailure::IgnoresCondition { .. } | ProbeFailure::Racy { .. });
        assert!(expected, "{failure}");
        eprintln!("{round}: {failure}");
    }
}
