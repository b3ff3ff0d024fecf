//! What comes into the stash: received in batches, checked on Pexip, handed to whoever waits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Inner, NoReadyRoom, ReadyRoom, Seen};
use crate::pexip::{PexipClient, PexipError};
use crate::storage::queue::{LeasedMessage, QueueError};

/// Pause after a look at an empty queue: while somebody waits, and while nobody does.
const PAUSE_WHILE_WAITED_FOR: Duration = Duration::from_millis(200);
const PAUSE_WHILE_IDLE: Duration = Duration::from_secs(5);

/// Pause after queue or Pexip failed.
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Times that a message which is no room name is received before it is put aside.
const MOST_RECEIVES: i64 = 5;

/// Messages received at least after a batch that gave nothing.
const BATCH_AFTER_JUNK: usize = 4;

/// A batch after its check.
struct Checked {
    ready: Vec<ReadyRoom>,
    useless: Vec<(LeasedMessage, Useless)>,
}

/// Why nobody can be given the room of a message.
enum Useless {
    /// It is no room name.
    Junk,
    /// Its room is not to be had, for this reason.
    Dead(&'static str),
}

impl Inner {
    /// Keeps the stash at its prefetch and serves those who wait, until `stop`. Runs once per instance, so that one
    /// batch is on its way at a time and no request carries the receive.
    pub(in crate::rooms) async fn keep_stash_filled(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wanted = self.stash.wanted(self.moment());
            let pause = if wanted == 0 {
                self.stash.until_next_expiry().unwrap_or(PAUSE_WHILE_IDLE)
            } else {
                self.fill_stash(wanted).await
            };
            // After an empty or failed look the next one is not hurried by whoever comes: a burst on an empty pool
            // would be a burst on the queue.
            let wake = async {
                if wanted == 0 || pause == PAUSE_WHILE_IDLE {
                    self.stash.wake.notified().await;
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

    /// One batch: receive, check, hand over. Returns how long to wait before the next.
    async fn fill_stash(self: &Arc<Self>, wanted: usize) -> Duration {
        // A lease taken while nothing can be checked or tagged would only hide the room from everybody.
        if let Err(error) = self.pexip.check_can_tag() {
            self.stash.answer_all(&NoReadyRoom::Pexip(error));
            return PAUSE_AFTER_TROUBLE;
        }
        let mut leased = self.stash.take_unchecked();
        if leased.len() < wanted {
            // After a batch of nothing but junk and dead names a larger one, or each of them would cost a look-up; not
            // the largest, which would lease a small pool behind the junk to one instance.
            let fruitless = self.stash.fruitless.swap(false, Ordering::Relaxed);
            let count = if fruitless { wanted.max(BATCH_AFTER_JUNK) } else { wanted };
            match self.queue.receive(count - leased.len(), self.config.lease).await {
                Ok(received) => leased.extend(received),
                Err(error) if leased.is_empty() => return self.queue_trouble(error).await,
                Err(error) => say_unless_suspended(&error),
            }
        }
        if leased.is_empty() {
            return if self.stash.answer_impatient() { PAUSE_WHILE_WAITED_FOR } else { PAUSE_WHILE_IDLE };
        }
        match self.check(leased).await {
            Ok(Checked { ready, useless }) => {
                self.stash.fruitless.store(ready.is_empty(), Ordering::Relaxed);
                self.stash.hand_over(ready);
                // A queue of nothing but junk and dead names is no reason to let anybody wait for ever. Nor is it one
                // for a pause: what was just seen is leased, so that each batch comes nearer to the rooms behind it.
                self.stash.answer_impatient();
                self.dispose_of(useless);
                Duration::ZERO
            }
            Err(error) => {
                warn!(%error, "leased rooms could not be checked");
                self.stash.answer_all(&NoReadyRoom::Pexip(error));
                PAUSE_AFTER_TROUBLE
            }
        }
    }

    async fn queue_trouble(&self, error: QueueError) -> Duration {
        if error == QueueError::NoSuchQueue {
            info!(queue = self.queue.name(), "the queue is missing and is made");
            if self.queue.ensure_exists().await.is_ok() {
                self.stash.answer_impatient();
                return PAUSE_WHILE_WAITED_FOR;
            }
        }
        say_unless_suspended(&error);
        self.stash.answer_all(&NoReadyRoom::Queue(error));
        PAUSE_AFTER_TROUBLE
    }

    /// Sorts out what can be handed out: named by a message that lasts, there on Pexip, untagged.
    async fn check(&self, leased: Vec<LeasedMessage>) -> Result<Checked, PexipError> {
        // Only the first message of a name counts; a second one would hand the room out twice.
        let mut seen = HashSet::new();
        let names: Vec<_> =
            leased.iter().filter_map(|message| message.room.clone()).filter(|name| seen.insert(name.clone())).collect();
        let seen = Seen::now(self.pexip.failure_epoch());
        let looked_up =
            if names.is_empty() { Ok(HashMap::new()) } else { self.for_whoever_waits().find_by_names(&names).await };
        let mut found = match looked_up {
            Ok(found) => found,
            Err(error) => {
                self.stash.state().unchecked.extend(leased);
                return Err(error);
            }
        };
        let moment = self.moment();
        let mut checked = Checked { ready: Vec::new(), useless: Vec::new() };
        for message in leased {
            let Some(name) = &message.room else {
                checked.useless.push((message, Useless::Junk));
                continue;
            };
            if self.stash.state().has_by_another(name, &message) {
                checked.useless.push((message, Useless::Dead("its room has another ticket")));
                continue;
            }
            match found.remove(name) {
                Some(conference) if conference.is_handed_out() => {
                    checked.useless.push((message, Useless::Dead("its room has a tag")));
                }
                Some(conference) => {
                    let room = ReadyRoom { message, conference, seen };
                    if room.outlasts(moment) {
                        checked.ready.push(room);
                    }
                }
                None => checked.useless.push((message, Useless::Dead("its room does not exist"))),
            }
        }
        Ok(checked)
    }

    /// Nobody's look-up leaves its share of the calls to those who wait for something.
    fn for_whoever_waits(&self) -> PexipClient {
        if self.stash.state().waiting.is_empty() { self.pexip.in_background() } else { self.pexip.clone() }
    }

    /// Aside from the filling, for it takes calls to the queue for each, and somebody may wait for the rooms behind them.
    /// What is not disposed of comes again.
    fn dispose_of(self: &Arc<Self>, useless: Vec<(LeasedMessage, Useless)>) {
        let Ok(place) = Arc::clone(&self.stash.disposing).try_acquire_owned() else { return };
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            for (message, why) in useless {
                // By then somebody else may have received it.
                if Instant::now() >= message.lease_ends {
                    return;
                }
                match why {
                    Useless::Junk => inner.set_poison_aside(&message).await,
                    Useless::Dead(reason) => inner.drop_message(&message, reason).await,
                }
            }
        });
    }

    /// A text that is no name may be another version's, so it gets some tries before it is put aside.
    async fn set_poison_aside(&self, message: &LeasedMessage) {
        if message.receives < MOST_RECEIVES {
            return;
        }
        match self.queue.set_aside(message).await {
            Ok(()) => {
                warn!(receives = message.receives, "a message that is no room name was moved to the poison queue");
            }
            Err(error) => info!(%error, "a poison message could not be moved yet"),
        }
    }

    async fn drop_message(&self, message: &LeasedMessage, reason: &'static str) {
        let room = message.room.as_ref().map(ToString::to_string).unwrap_or_default();
        if self.stash.drops.check().is_err() {
            warn!(room, reason, "dead message left in the queue: too many in this minute");
            return;
        }
        info!(room, reason, "dead message dropped");
        if let Err(error) = self.queue.discard(message).await {
            info!(room, %error, "dead message could not be deleted");
        }
    }
}

/// Once for each time that the queue was asked: through an outage it would be said every second that it is not.
fn say_unless_suspended(error: &QueueError) {
    if *error != QueueError::Suspended {
        warn!(%error, "no messages could be received");
    }
}
