//! A deterministic world for the simulators: one runtime without real time, one memory store, and per process a network
//! that fails, a skewed clock, randomness, and notes that survive the process.
//!
//! A seed determines everything. `ATFS_SIM_SEEDS=10000` runs so many seeds instead of the default;
//! `ATFS_SIM_SEED=1234` runs just one and prints what happened.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod ledger;
pub mod mistake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use atfs::repo::refs::{MemoryNotebook, Notebook};
use atfs::repo::{InitOptions, RepoError, Repository, Services};
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{MemoryStore, Operation, RetryPolicy, RetryStore, Store};
use atfs::types::{Clock, Random, SeededRandom, Timestamp};
use tokio::time::Instant;

use mistake::{Mistake, Mistaken};

/// 2026-11-23T10:00:00Z.
pub const START: i64 = 1_795_428_000_000_000;

/// Virtual time with a skew: machines disagree about the time, and one may be set back.
#[derive(Debug)]
pub struct SkewedClock {
    began: Instant,
    skew_micros: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(START + self.began.elapsed().as_micros() as i64 + self.skew_micros)
    }
}

/// A number from 0 to `below - 1`.
pub fn pick(random: &dyn Random, below: u64) -> u64 {
    (random.unit() * below as f64) as u64
}

/// How the networks of one run behave.
#[derive(Debug, Clone)]
pub struct Weather(Vec<FaultRule>);

impl Weather {
    /// Nothing ever happens.
    pub fn calm() -> Self {
        Self(Vec::new())
    }

    /// From calm to very bad, by chance.
    pub fn new(random: &dyn Random) -> Self {
        let strength = [0.0, 0.02, 0.1, 0.3][pick(random, 4) as usize];
        let late = Duration::from_millis(10 * 4u64.pow(pick(random, 8) as u32));
        let sometimes = |fault: Fault| FaultRule::sometimes(strength * random.unit(), fault);
        let mut rules = vec![FaultRule::always(Fault::Jitter(Duration::from_millis(20)))];
        let put_new = [
            Fault::LateArrival(late),
            Fault::LostAnswer,
            Fault::ExistsAfterSuccess,
            Fault::ServerAfterSuccess,
            Fault::Conflict,
        ];
        rules.extend(put_new.into_iter().map(|fault| sometimes(fault).on(Operation::PutNew)));
        rules.extend([Fault::Server, Fault::Throttled, Fault::Unreachable].map(sometimes));
        // Long enough to outlast every patience.
        rules.push(sometimes(Fault::SlowFirstByte(Duration::from_secs(90))).on(Operation::PutNew));
        rules.push(FaultRule::sometimes(strength * 0.1, Fault::Denied).on(Operation::PutNew));
        // One for whom nothing conditional works at all for a while.
        if strength > 0.0 && pick(random, 4) == 0 {
            rules.push(FaultRule::first(pick(random, 60), Fault::LostAnswer).on(Operation::PutNew));
        }
        Self(rules)
    }
}

/// One process of the simulated world, through all its restarts.
#[derive(Debug)]
pub struct Process {
    pub number: u64,
    pub network: Arc<FaultStore>,
    pub random: Arc<SeededRandom>,
    notebook: Arc<MemoryNotebook>,
    clock: Arc<SkewedClock>,
    store: Arc<dyn Store>,
}

impl Process {
    pub fn new(
        number: u64,
        seed: u64,
        memory: &Arc<MemoryStore>,
        weather: &Weather,
        mistake: Option<Mistake>,
    ) -> Self {
        let own = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number + 1);
        let random = Arc::new(SeededRandom::new(own));
        let network = Arc::new(FaultStore::new(Arc::clone(memory) as _, own ^ 0xF417));
        network.set_rules(weather.0.clone());
        let wire: Arc<dyn Store> = Arc::new(RetryStore::new(
            Arc::clone(&network) as _,
            RetryPolicy::default(),
            Arc::clone(&random) as _,
        ));
        let store = match mistake {
            Some(mistake) => Arc::new(Mistaken::new(wire, mistake)),
            None => wire,
        };
        let skew_micros = [0, -3_600_000_000, 5_000_000][pick(&*random, 3) as usize];
        let clock = Arc::new(SkewedClock { began: Instant::now(), skew_micros });
        Self { number, network, random, notebook: Arc::default(), clock, store }
    }

    fn services(&self) -> Services {
        Services {
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
            index: None,
            who: format!("process {}", self.number),
        }
    }

    /// The repository as this process opens it after a (re)start.
    pub async fn open(&self) -> Result<Repository, RepoError> {
        // The probe is another test's business; here every machine has made it today.
        self.notebook.set_probed(&self.store.describe(), self.clock.now()).await;
        Repository::open_with(Arc::clone(&self.store), self.services(), Arc::clone(&self.notebook) as _).await
    }

    /// Makes the repository, in good weather.
    pub async fn init(&self) -> Repository {
        let notebook = Arc::clone(&self.notebook) as _;
        let store = Arc::clone(&self.store);
        Repository::init_with(store, self.services(), notebook, InitOptions::default()).await.unwrap()
    }

    /// The weather clears up, and everything that still travels arrives.
    pub async fn calm(&self) {
        self.network.set_rules([]);
        self.network.settle().await;
    }
}

/// Runs one future in a world of its own, whose time passes only when everybody waits.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// The seeds to try, and whether to talk about it.
pub fn seeds(default: u64) -> (std::ops::Range<u64>, bool) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("ATFS_SIM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("ATFS_SIM_SEEDS").unwrap_or(default), false),
    }
}
