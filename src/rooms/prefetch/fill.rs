//! Fills the prefetch: receives messages in batches, checks their rooms on Pexip, hands them to the waiting requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::discard::{DeadReason, Discarder, RoomsFound, Unusable};
use super::{NoPrefetchedRoom, Observation, Prefetch, PrefetchedRoom, usable};
use crate::domain::RoomName;
use crate::pexip::{Conference, PexipClient, PexipError};
use crate::rooms::backend::Backend;
use crate::storage::StorageError;
use crate::storage::queue::{LARGEST_BATCH, LeasedMessage};

/// Pause after the queue was found empty, while a request waits and while none does.
const PAUSE_WITH_WAITERS: Duration = Duration::from_millis(200);
const PAUSE_WHILE_IDLE: Duration = Duration::from_secs(5);

/// Pause after the queue or Pexip failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Messages received at least after a batch without a ready room. Doubles with each further one, unless each name costs
/// a call.
const MIN_BATCH_AFTER_UNUSABLE: usize = 4;

/// Batches without a ready room, in a row, before there are pauses. Rooms may be right behind a few dead messages.
const BATCHES_WITHOUT_PAUSE: u32 = 3;

/// The first of these pauses doubles up to the longest.
const PAUSE_AFTER_UNUSABLE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE_AFTER_UNUSABLE: Duration = Duration::from_secs(4);

/// Fills a [`Prefetch`]. Runs once per instance, so that one batch is under way at a time and no request carries the
/// receive.
pub(in crate::rooms) struct Fill {
    backend: Arc<Backend>,
    prefetch: Arc<Prefetch>,
    discarder: Discarder,
    /// Never locked across an await.
    progress: Mutex<Progress>,
}

/// What the latest batches have shown.
#[derive(Default)]
struct Progress {
    /// Batches without a ready room since the latest one with.
    unusable_batches: u32,
    /// When messages are received again after such a batch.
    resume_at: Option<Instant>,
    /// A room of ours that exists on Pexip. After a batch without a ready room it is looked up together with the next
    /// batches: if the answer has it, the rooms missing from that answer do not exist.
    witness: Option<RoomName>,
}

/// A batch after its check.
struct Checked {
    ready: Vec<PrefetchedRoom>,
    unusable: Vec<Unusable>,
    found: RoomsFound,
}

impl Fill {
    pub(in crate::rooms) fn new(backend: Arc<Backend>, prefetch: Arc<Prefetch>) -> Self {
        let discarder = Discarder::new(backend.queue.clone());
        Self { backend, prefetch, discarder, progress: Mutex::default() }
    }

    /// Keeps as many rooms as are in demand and serves waiting requests, until `stop`.
    pub(in crate::rooms) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let _running = Running::begin(&self.prefetch);
        loop {
            let refreshed = self.refresh().await;
            let wanted = self.prefetch.count_wanted();
            // Also while nothing is wanted: a create must not be the first to find that no record can be made.
            let pause = match self.backend.records.ensure_answering().await {
                Err(error) => self.handle_storage_failure(error),
                // The rooms that could not be read are still due.
                Ok(()) if wanted == 0 && refreshed.is_err() => PAUSE_AFTER_FAILURE,
                Ok(()) if wanted == 0 => self.prefetch.until_refresh().unwrap_or(PAUSE_WHILE_IDLE),
                Ok(()) => self.fetch(wanted).await,
            };
            // After an empty or failed receive, a new request does not shorten the pause while others wait: a burst of
            // requests on an empty pool must not become a burst on the queue.
            let wake = async {
                if wanted == 0 || pause == PAUSE_WHILE_IDLE {
                    self.prefetch.wake.notified().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One batch: receives, checks, hands over. Returns the pause before the next one.
    async fn fetch(&self, wanted: usize) -> Duration {
        // A lease taken while nothing can be checked or tagged would only hide the room from other instances.
        if let Err(error) = self.backend.pexip.check_can_tag() {
            self.prefetch.answer_all(&NoPrefetchedRoom::Pexip(error));
            return PAUSE_AFTER_FAILURE;
        }
        let mut leased = self.prefetch.take_unchecked();
        if let Some(pause) = self.pause_left() {
            if leased.is_empty() {
                self.prefetch.answer_overdue();
                return pause.min(PAUSE_WITH_WAITERS);
            }
        } else if leased.len() < wanted {
            match self.backend.queue.receive(self.batch_size(wanted) - leased.len(), self.backend.config.lease).await {
                Ok(received) => leased.extend(received),
                Err(error) if leased.is_empty() => return self.handle_queue_failure(error).await,
                Err(error) => warn_unless_suspended(&error),
            }
        }
        if leased.is_empty() {
            self.prefetch.answer_overdue();
            return if self.prefetch.has_waiters() { PAUSE_WITH_WAITERS } else { PAUSE_WHILE_IDLE };
        }
        match self.check(leased).await {
            Ok(Checked { ready, unusable, found }) => {
                self.note_batch(!ready.is_empty());
                self.prefetch.hand_over(ready);
                // A queue of poison and dead messages must not keep requests waiting.
                self.prefetch.answer_overdue();
                self.discarder.discard(unusable, found);
                Duration::ZERO
            }
            Err(error) => {
                if self.backend.pexip.closed(&error).is_none() {
                    warn!(%error, "leased rooms could not be checked");
                }
                self.prefetch.answer_all(&NoPrefetchedRoom::Pexip(error));
                PAUSE_AFTER_FAILURE
            }
        }
    }

    /// Larger after a batch of poison and dead messages, or each of them would cost a look-up. Not at once the largest
    /// batch, which would lease a small pool behind such messages to one instance.
    fn batch_size(&self, wanted: usize) -> usize {
        let doublings = match self.progress.lock().unusable_batches {
            0 => return wanted,
            batches if self.backend.pexip.finds_several_at_once() => (batches - 1).min(3),
            _ => 0,
        };
        wanted.max(MIN_BATCH_AFTER_UNUSABLE << doublings).min(LARGEST_BATCH)
    }

    /// The rest of the pause after batches without a ready room.
    fn pause_left(&self) -> Option<Duration> {
        let resume_at = self.progress.lock().resume_at?;
        Some(resume_at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn note_batch(&self, is_usable: bool) {
        let mut progress = self.progress.lock();
        progress.unusable_batches = if is_usable { 0 } else { progress.unusable_batches.saturating_add(1) };
        let pauses = progress.unusable_batches.saturating_sub(BATCHES_WITHOUT_PAUSE);
        let pause = PAUSE_AFTER_UNUSABLE.saturating_mul(1 << pauses.saturating_sub(1).min(8));
        progress.resume_at = (pauses > 0).then(|| Instant::now() + pause.min(LONGEST_PAUSE_AFTER_UNUSABLE));
    }

    async fn handle_queue_failure(&self, error: StorageError) -> Duration {
        if error == StorageError::NoSuchQueue {
            info!(queue = self.backend.queue.name(), "the queue does not exist, creating it");
            if self.backend.queue.ensure_exists().await.is_ok() {
                self.prefetch.answer_overdue();
                return PAUSE_WITH_WAITERS;
            }
        }
        self.handle_storage_failure(error)
    }

    fn handle_storage_failure(&self, error: StorageError) -> Duration {
        warn_unless_suspended(&error);
        self.prefetch.answer_all(&NoPrefetchedRoom::Storage(error));
        PAUSE_AFTER_FAILURE
    }

    /// Reads all rooms of the prefetch again, by one call, if one of them was not read for a while.
    async fn refresh(&self) -> Result<(), PexipError> {
        let names = self.prefetch.due_for_refresh();
        if names.is_empty() {
            return Ok(());
        }
        let observed = Observation::begin(self.backend.pexip.failure_epoch());
        match self.client_for_look_up().find_by_names(&names).await {
            Ok(mut found) => {
                let rooms_found = if found.is_empty() { RoomsFound::None } else { RoomsFound::InOtherAnswers };
                self.discarder.discard(self.prefetch.refresh(&names, &mut found, observed), rooms_found);
                Ok(())
            }
            // Their observations become stale, and they are checked again before they are used.
            Err(error) => {
                info!(%error, "prefetched rooms could not be read again");
                Err(error)
            }
        }
    }

    /// Selects the rooms that can be handed out: on Pexip as they were made, without a tag, named by one message that
    /// lasts long enough.
    async fn check(&self, leased: Vec<LeasedMessage>) -> Result<Checked, PexipError> {
        let names = leased.iter().filter_map(|message| message.room.clone()).collect();
        let observed = Observation::begin(self.backend.pexip.failure_epoch());
        let (mut found, rooms_found) = match self.look_up(names).await {
            Ok(looked_up) => looked_up,
            Err(error) => {
                self.prefetch.return_unchecked(leased);
                return Err(error);
            }
        };
        let (criteria, host_pin) = (self.prefetch.criteria(), self.backend.rooms.host_pin());
        let mut checked = Checked { ready: Vec::new(), unusable: Vec::new(), found: rooms_found };
        for message in leased {
            let Some(name) = &message.room else {
                checked.unusable.push(Unusable::Poison(message));
                continue;
            };
            if self.prefetch.has_by_another_message(name, &message) {
                checked.unusable.push(Unusable::Dead(message, DeadReason::DuplicateMessage));
                continue;
            }
            // Removed, so that of two messages with one name only the first gives the room.
            match usable(found.remove(name), &host_pin) {
                Ok(conference) => {
                    let room = PrefetchedRoom { message, conference, observed };
                    if room.outlasts(criteria) {
                        checked.ready.push(room);
                    }
                }
                Err(reason) => checked.unusable.push(Unusable::Dead(message, reason)),
            }
        }
        Ok(checked)
    }

    /// The rooms of these names that exist, and what else the answer says.
    async fn look_up(
        &self,
        mut names: BTreeSet<RoomName>,
    ) -> Result<(HashMap<RoomName, Conference>, RoomsFound), PexipError> {
        if names.is_empty() {
            return Ok((HashMap::new(), RoomsFound::None));
        }
        {
            let progress = self.progress.lock();
            names.extend(progress.witness.clone().filter(|_| progress.unusable_batches > 0));
        }
        let pexip = self.client_for_look_up();
        let at_once = pexip.finds_several_at_once();
        let found = pexip.find_by_names(&Vec::from_iter(names)).await?;
        let mut witness = found.keys().next().cloned();
        let rooms_found = match &witness {
            None => RoomsFound::None,
            Some(_) if at_once && pexip.finds_several_at_once() => RoomsFound::InTheSameAnswer,
            Some(_) => RoomsFound::InOtherAnswers,
        };
        if witness.is_none() {
            // For the next batch. The messages of this one are met again.
            witness = self.backend.background.find_any().await.ok().flatten();
        }
        self.progress.lock().witness = witness;
        Ok((found, rooms_found))
    }

    /// Without a waiting request the look-up has background priority, and after a batch of dead messages: those must
    /// not take calls from creates.
    fn client_for_look_up(&self) -> &PexipClient {
        let is_worthwhile = self.prefetch.has_waiters() && self.progress.lock().unusable_batches == 0;
        if is_worthwhile { &self.backend.pexip } else { &self.backend.background }
    }
}

/// Marks the prefetch as being filled while a run lasts. When the run ends, even by a panic, waiting requests are
/// answered and new ones do not wait, so that creates continue without the pool.
struct Running<'a>(&'a Prefetch);

impl<'a> Running<'a> {
    fn begin(prefetch: &'a Prefetch) -> Self {
        prefetch.set_filling(true);
        Self(prefetch)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set_filling(false);
        self.0.answer_all(&NoPrefetchedRoom::Empty);
    }
}

/// While the circuit breaker is open the queue is not called, and logging would repeat the failure every second.
fn warn_unless_suspended(error: &StorageError) {
    if *error != StorageError::Suspended {
        warn!(%error, "no messages could be received");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_that_panics_answers_waiting_requests_and_new_ones_do_not_wait() {
        let prefetch = Arc::new(Prefetch::new(Arc::new(Backend::for_test(&[]))));
        let started = Instant::now();
        let deadline = started + Duration::from_secs(10);
        let panics = async {
            let _running = Running::begin(&prefetch);
            sleep(Duration::from_millis(1)).await;
            assert!(!prefetch.has_waiters(), "the panic that this test asks for");
        };

        let run = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(panics));
        let (waiting, run) = tokio::join!(prefetch.take(deadline), run);
        let new = prefetch.take(deadline).await;

        assert!(run.is_err() && matches!((waiting, new), (Err(NoPrefetchedRoom::Empty), Err(NoPrefetchedRoom::Empty))));
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
