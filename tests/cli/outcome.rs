//! Exit code 4: the store took the request that moves a branch and never said how it ended; and how that is settled.

use crate::bucket::Bucket;
use crate::machine::Machine;
use crate::support::model::Mode;

const URL: &str = "s3://bucket/r";

/// A repository whose branch has one file, and the error of a second commit, lost as `mode` says.
fn lose(mode: Mode) -> (Machine, Bucket, String) {
    let (machine, bucket) = (Machine::new(), Bucket::new(Mode::Honest));
    bucket.ok(&machine, &["init", URL]);
    machine.write("a.txt", b"a");
    machine.write("b.txt", b"b");
    bucket.ok(&machine, &["add", URL, "DIR/a.txt"]);
    bucket.model.behave(mode);
    let err = bucket.fails(&machine, 4, &["add", URL, "DIR/b.txt", "-m", "second"]);
    (machine, bucket, err)
}

/// The commit that an outcome speaks of, `MOVED`, and the rest of the text.
fn moved(text: &str) -> &str {
    text.split("branch main moved to ").nth(1).unwrap_or_else(|| panic!("{text}")).get(..12).unwrap()
}

#[test]
fn a_commit_whose_answer_is_lost_for_good() {
    let (machine, bucket, err) = lose(Mode::LosesAnswerForGood);
    let commit = moved(&err);
    let begins =
        format!("error: it is unknown whether branch main moved to {commit}: create of \"refs/heads/main/");
    assert!(err.starts_with(&begins), "{err}");
    assert!(err.contains("HTTP 403 AccessDenied"), "the last failure is told: {err}");
    assert!(
        err.ends_with(
            "\nhint: run `atfs branch s3://bucket/r list` when the store answers again: it looks, and says what \
             happened\n"
        ),
        "{err}"
    );
    assert_eq!(err.lines().count(), 2, "{err}");
    // While the store refuses, nothing is settled, and nothing is forgotten.
    bucket.fails(&machine, 1, &["branch", URL, "list"]);
    bucket.model.behave(Mode::Honest);
    let ran = bucket.succeeds(&machine, &["branch", URL, "list"]);
    assert_eq!(
        ran.err,
        format!("an earlier command had succeeded after all: branch main moved to {commit}\n")
    );
    assert!(ran.out.contains(commit) && ran.out.contains("second"), "{ran:?}");
    // It is told once.
    let ran = bucket.succeeds(&machine, &["ls", URL]);
    assert_eq!((&*ran.out, &*ran.err), ("a.txt\nb.txt\n", ""));
}

#[test]
fn a_commit_that_got_lost_on_its_way() {
    let (machine, bucket, err) = lose(Mode::LosesRecordForGood);
    let commit = moved(&err).to_owned();
    bucket.model.behave(Mode::Honest);
    // It may still be travelling, for all that anybody knows: it is not called a failure.
    let open = format!(
        "it is still unknown whether branch main moved to {commit} (an earlier command): the next change to branch main \
         settles it\n"
    );
    assert_eq!(bucket.succeeds(&machine, &["ls", URL]).err, open);
    // The same command again does the work, and with it takes the name that the lost record would have had.
    let ran = bucket.succeeds(&machine, &["add", URL, "DIR/b.txt", "-m", "second"]);
    assert!(ran.err.starts_with(&open), "{ran:?}");
    let ran = bucket.succeeds(&machine, &["ls", URL]);
    assert_eq!(ran.out, "a.txt\nb.txt\n");
    assert_eq!(
        ran.err,
        format!("warning: an earlier command had failed: it is not so that branch main moved to {commit}\n")
    );
    assert_eq!(bucket.succeeds(&machine, &["ls", URL]).err, "");
}
