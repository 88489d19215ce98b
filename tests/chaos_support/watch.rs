//! Looks at the daemon's threads: none may be stuck in the kernel.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::far_common::state;

#[derive(Debug, Default)]
pub struct Watch {
    since: HashMap<u32, Instant>,
    longest: Duration,
    looks: u64,
}

impl Watch {
    /// Looks at every thread of the process.
    pub fn look(&mut self, pid: u32) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        self.looks += 1;
        let ids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok());
        let stuck: Vec<u32> = ids.filter(|id| state(*id) == Some('D')).collect();
        self.since.retain(|id, _| stuck.contains(id));
        let now = Instant::now();
        for id in stuck {
            let since = *self.since.entry(id).or_insert(now);
            self.longest = self.longest.max(now - since);
        }
    }

    /// The longest time for which a thread was in state D at every look, and how often was looked.
    pub fn longest(&self) -> (Duration, u64) {
        (self.longest, self.looks)
    }
}
