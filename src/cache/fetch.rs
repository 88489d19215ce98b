//! Fetch once, however many readers.
//!
//! A reader who misses a piece *claims* it: the first claim starts the fetch, later ones wait for the same
//! answer. The fetch runs in a task of its own, so a reader who goes away takes nothing from the others. A
//! claim looks at the marks on disk, the fetches under way, and the pieces not kept, under one lock; a
//! fetch takes itself off its list only after its bytes are in one of the other two places. So no piece is
//! fetched twice that could be had once. A failed fetch takes itself off before anybody hears of it:
//! whoever reads next starts a new one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Shared, join_all};
use tokio::sync::oneshot;

use super::file::Pin;
use super::recent::Found;
use super::stats::Counters;
use super::{Cache, FetchError, Pieces};

/// A piece in memory.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) bytes: Bytes,
    /// Whether it is on disk as well.
    pub(super) kept: bool,
}

type Answer = Result<Fetched, FetchError>;

/// The pieces of one entry that are under way.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<(u64, u64), Ticket>>);

/// A piece under way, to wait for.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    answer: Shared<oneshot::Receiver<Answer>>,
    /// Whose fetcher runs it.
    fetcher: FetcherId,
}

/// Tells fetchers of the same content apart: they may be of different repositories, of which one cannot be
/// reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FetcherId(usize);

impl FetcherId {
    /// No fetcher: the piece was at hand.
    const NONE: Self = Self(0);

    pub(super) fn of(pieces: &Arc<dyn Pieces>) -> Self {
        Self(Arc::as_ptr(pieces).cast::<()>() as usize)
    }
}

impl Ticket {
    /// The answer, when it is there.
    pub(super) async fn wait(&self) -> Answer {
        let ended = |_| FetchError::new("the fetch ended without an answer");
        self.answer.clone().await.map_err(ended).flatten()
    }

    /// Whether `fetcher` runs it.
    pub(super) fn is_by(&self, fetcher: FetcherId) -> bool {
        self.fetcher == fetcher
    }
}

/// How a piece is to be had.
pub(super) enum Claim {
    /// It is on disk now.
    OnDisk,
    /// It is in memory.
    InMemory(Bytes),
    /// Somebody fetches it; since this claim, if there was nobody.
    UnderWay(Ticket),
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `piece` of the entry of `pin` for a reader who would fetch it with `pieces`.
    pub(super) fn claim(&self, pin: &Pin, piece: Range<u64>, pieces: &Arc<dyn Pieces>) -> Claim {
        let mut missing = Vec::new();
        let claim = self.claim_into(&mut missing, pin, piece, pieces);
        fetch(missing, pieces);
        claim
    }

    /// Claims several pieces, in order: those that nobody has or fetches are fetched together.
    pub(super) fn claim_run(&self, pin: &Pin, run: &[Range<u64>], pieces: &Arc<dyn Pieces>) -> Vec<Claim> {
        let mut missing = Vec::with_capacity(run.len());
        let claim = |piece: &Range<u64>| self.claim_into(&mut missing, pin, piece.clone(), pieces);
        let claims = run.iter().map(claim).collect();
        fetch(missing, pieces);
        claims
    }

    /// Claims `piece`; who is to fetch it is added to `missing`.
    fn claim_into(
        &self,
        missing: &mut Vec<Landing>,
        pin: &Pin,
        piece: Range<u64>,
        pieces: &Arc<dyn Pieces>,
    ) -> Claim {
        match self.begin(pin, piece, FetcherId::of(pieces)) {
            Ok(begun) => {
                let (ticket, landing) = begun.start();
                missing.extend(landing);
                Claim::UnderWay(ticket)
            }
            Err(claim) => claim,
        }
    }

    /// Puts in a piece that is at hand. `true` if it is on disk now.
    pub(super) fn land(&self, pin: &Pin, piece: Range<u64>, bytes: &Bytes) -> bool {
        match self.begin(pin, piece, FetcherId::NONE) {
            Ok(Begun { landing, .. }) => {
                let kept = landing.store(bytes);
                landing.end(Ok(Fetched { bytes: bytes.clone(), kept }));
                kept
            }
            Err(claim) => matches!(claim, Claim::OnDisk),
        }
    }

    /// Makes the caller the one who brings `piece`, unless it need not be brought.
    fn begin(&self, pin: &Pin, piece: Range<u64>, fetcher: FetcherId) -> Result<Begun, Claim> {
        let mut under_way = self.lock();
        if pin.entry().reach(piece.start).is_some_and(|end| end >= piece.end) {
            return Err(Claim::OnDisk);
        }
        if let Some(ticket) = under_way.get(&(piece.start, piece.end)) {
            return Err(Claim::UnderWay(ticket.clone()));
        }
        let Cache { recent, room, .. } = pin.cache();
        let at_hand = match recent.find(&pin.entry().key, &piece, room.freed()) {
            Some(Found::Held(bytes)) => return Err(Claim::InMemory(bytes)),
            Some(Found::Taken(bytes)) => Some(bytes),
            None => None,
        };
        let (answer_to, answer) = oneshot::channel();
        let ticket = Ticket { answer: answer.shared(), fetcher };
        under_way.insert((piece.start, piece.end), ticket.clone());
        drop(under_way);
        let landing = Landing { pin: pin.clone(), piece, answer_to: Some(answer_to) };
        Ok(Begun { landing, ticket, at_hand })
    }
}

/// What the one who brings a piece starts with.
struct Begun {
    landing: Landing,
    ticket: Ticket,
    /// It was fetched before, and there was no room to keep it.
    at_hand: Option<Bytes>,
}

impl Begun {
    /// Keeps what is at hand. The landing if it has to be fetched.
    ///
    /// Tasks are not begun under the lock: a runtime that is shutting down drops them here and now, and they take it.
    fn start(self) -> (Ticket, Option<Landing>) {
        let Self { landing, ticket, at_hand } = self;
        let Some(bytes) = at_hand else { return (ticket, Some(landing)) };
        tokio::spawn(async move {
            let fetched = landing.keep(bytes).await;
            landing.end(Ok(fetched));
        });
        (ticket, None)
    }
}

/// Begins to fetch pieces together.
fn fetch(missing: Vec<Landing>, pieces: &Arc<dyn Pieces>) {
    if !missing.is_empty() {
        tokio::spawn(fetch_run(missing, Arc::clone(pieces)));
    }
}

/// Fetches pieces together. Each ends by itself.
async fn fetch_run(landings: Vec<Landing>, pieces: Arc<dyn Pieces>) {
    let run: Vec<_> = landings.iter().map(|landing| landing.piece.clone()).collect();
    let fetched = match &*run {
        [piece] => vec![pieces.fetch(piece.clone()).await],
        run => pieces.fetch_run(run).await,
    };
    let mut fetched = fetched.into_iter();
    let landed = landings.into_iter().map(|landing| {
        let bytes = fetched.next().unwrap_or_else(|| Err(FetchError::new("a run came short of a piece")));
        let pieces = &pieces;
        async move {
            let answer = landing.take(bytes).await;
            let kept = matches!(answer, Ok(Fetched { kept: true, .. })).then(|| landing.piece.clone());
            landing.end(answer);
            // Readers do not wait for it.
            if let Some(piece) = kept {
                pieces.kept(piece).await;
            }
        }
    });
    join_all(landed).await;
}

/// A piece under way, which keeps its entry open and takes itself off the list however it ends.
struct Landing {
    pin: Pin,
    piece: Range<u64>,
    answer_to: Option<oneshot::Sender<Answer>>,
}

impl Landing {
    /// Keeps what a fetcher brought.
    async fn take(&self, fetched: Result<Bytes, FetchError>) -> Answer {
        let bytes = fetched?;
        let wanted = self.piece.end - self.piece.start;
        if bytes.len() as u64 != wanted {
            let error = format!("a piece of {wanted} bytes came with {}", bytes.len());
            return Err(FetchError::new(error));
        }
        let counters = self.pin.cache().counters();
        Counters::add(&counters.pieces_fetched, 1);
        Counters::add(&counters.bytes_fetched, wanted);
        Ok(self.keep(bytes).await)
    }

    /// Puts the piece on disk, or among those that are not.
    async fn keep(&self, bytes: Bytes) -> Fetched {
        let Cache { recent, room, .. } = self.pin.cache();
        let freed = room.freed();
        let store = {
            let (pin, piece, bytes) = (self.pin.clone(), self.piece.clone(), bytes.clone());
            move || pin.entry().store(&pin.cache().room, &piece, &bytes)
        };
        let kept = tokio::task::spawn_blocking(store).await.unwrap_or(false);
        if !kept {
            Counters::add(&room.counters.pieces_not_kept, 1);
            recent.put(self.pin.entry().key, self.piece.clone(), &bytes, freed);
        }
        Fetched { bytes, kept }
    }

    fn store(&self, bytes: &Bytes) -> bool {
        self.pin.entry().store(&self.pin.cache().room, &self.piece, bytes)
    }

    /// Tells those who wait, after which nobody can come to wait for this fetch any more.
    fn end(mut self, answer: Answer) {
        let answer_to = self.answer_to.take();
        drop(self);
        if let Some(answer_to) = answer_to {
            // Nobody may be waiting any more.
            let _ = answer_to.send(answer);
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.pin.entry().in_flight.lock().remove(&(self.piece.start, self.piece.end));
    }
}
