use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::repo::{InitOptions, Repository, Services};
use crate::store::MemoryStore;
use crate::types::{NoProgress, SeededRandom, SystemClock};

/// A file that somebody writes to at the worst moment: when all of it was read, and before it is asked whether it changed.
#[derive(Debug)]
struct Restless {
    path: PathBuf,
    /// How many more times.
    writes: AtomicUsize,
    write: Change,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Append,
    /// The size stays.
    Overwrite,
}

impl Source for Restless {
    type Reader = File;
    type Meta = (u64, std::time::SystemTime);

    fn size_hint(&self) -> u64 {
        std::fs::metadata(&self.path).expect("it is there").len()
    }

    fn open(&self) -> Result<Opened<File, Self::Meta>, RepoError> {
        let reader = File::open(&self.path).expect("it is there");
        let metadata = reader.metadata().expect("it is open");
        let modified = metadata.modified().expect("Linux has it");
        Ok(Opened { reader, size: metadata.len(), meta: (metadata.len(), modified) })
    }

    fn is_unchanged(&self, reader: &File, meta: &Self::Meta) -> Result<bool, RepoError> {
        let left = self.writes.load(Ordering::Relaxed);
        if left > 0 {
            self.writes.store(left - 1, Ordering::Relaxed);
            let mut file = File::options().write(true).open(&self.path).expect("it is there");
            match self.write {
                Change::Append => file.seek(SeekFrom::End(0)).expect("a file"),
                Change::Overwrite => 0,
            };
            file.write_all(&[left as u8]).expect("there is room");
            // Clocks of file systems are coarse: two writes within one tick would have one time.
            file.set_modified(meta.1 + std::time::Duration::from_secs(left as u64)).expect("our file");
        }
        let metadata = reader.metadata().expect("it is open");
        Ok((metadata.len(), metadata.modified().expect("Linux has it")) == *meta)
    }

    fn failed(&self, source: std::io::Error) -> RepoError {
        RepoError::Local { action: "reading", path: self.path.display().to_string(), source }
    }
}

async fn stored(writes: usize, write: Change, size: usize) -> Result<(u64, Content), RepoError> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("f");
    std::fs::write(&path, vec![7; size]).expect("there is room");
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SeededRandom::new(1)));
    let services = Services { clock, random, index: None, who: "T".into() };
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, services, InitOptions::default()).await?;
    let known = Arc::new(Known::new(&repository));
    let mut sink = Sink::new(&repository, known.clone(), Arc::new(NoProgress));
    let (sender, inputs) = mpsc::channel::<Input<Restless, ()>>(1);
    let restless = Restless { path: path.clone(), writes: AtomicUsize::new(writes), write };
    sender.send(Input::File(restless)).await.expect("it is read");
    drop(sender);
    let mut pipeline = Pipeline::start(inputs, known, repository.format().chunker);
    let Some(Output::File(written)) = pipeline.next(&mut sink).await? else { panic!("a file went in") };
    // What was stored is what is there now: the file stood still since.
    assert_eq!(written.size, std::fs::metadata(&path).expect("it is there").len());
    Ok((written.size, written.content))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_is_read_once_more_and_one_that_keeps_changing_is_refused() {
    // One chunk, and several.
    for size in [100_000, 3 << 20] {
        for write in [Change::Append, Change::Overwrite] {
            let quiet = stored(0, write, size).await.expect("it stood still").1;
            let (_, once) = stored(1, write, size).await.expect("the second reading is good");
            assert_ne!(once, quiet, "the earlier bytes were stored");
            let error = stored(100, write, size).await.expect_err("it never stands still");
            let text = error.to_string();
            assert!(matches!(error, RepoError::Local { .. }), "{text}");
            assert!(text.ends_with("f: it changed while it was read, twice"), "{text}");
        }
    }
}
