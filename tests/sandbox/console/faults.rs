//! Faults that are switched on and off while the service runs.

use std::collections::HashSet;
use std::time::Duration;

use maxconf_simulators::{Fault, Matching, StoredRoom, Times, World};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::Value;

/// What a slow Pexip adds to each answer.
const SLOW: Duration = Duration::from_millis(1_500);

#[derive(Debug, Default)]
pub(super) struct Faults {
    on: Mutex<HashSet<Kind>>,
    backup: Mutex<Option<Backup>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    PexipSlow,
    PexipDown,
    StorageDown,
    GenesysBusy,
    AnswersLost,
}

/// The management node's database as it was once.
#[derive(Debug)]
struct Backup {
    rooms: Vec<StoredRoom>,
    next_id: u64,
}

impl Kind {
    const ALL: [Self; 5] = [Self::PexipSlow, Self::PexipDown, Self::StorageDown, Self::GenesysBusy, Self::AnswersLost];

    fn as_str(self) -> &'static str {
        match self {
            Self::PexipSlow => "pexip_slow",
            Self::PexipDown => "pexip_down",
            Self::StorageDown => "storage_down",
            Self::GenesysBusy => "genesys_busy",
            Self::AnswersLost => "answers_lost",
        }
    }
}

impl Faults {
    pub(super) fn json(&self) -> Value {
        let on = self.on.lock();
        Kind::ALL.into_iter().map(|kind| (kind.as_str(), on.contains(&kind))).collect()
    }

    /// False if there is no such fault.
    pub(super) async fn switch(&self, world: &World, name: &str, is_on: bool) -> bool {
        let _changing = self.changing.lock().await;
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else { return false };
        let is_new = if is_on { self.on.lock().insert(kind) } else { self.on.lock().remove(&kind) };
        match (kind, is_on) {
            _ if !is_new => {}
            (Kind::PexipDown, true) => world.pexip.stop().await,
            (Kind::PexipDown, false) => world.pexip.restart().await,
            (Kind::StorageDown, true) => {
                tokio::join!(world.queue.stop(), world.blobs.stop());
            }
            (Kind::StorageDown, false) => {
                tokio::join!(world.queue.restart(), world.blobs.restart());
            }
            (Kind::PexipSlow | Kind::GenesysBusy | Kind::AnswersLost, _) => self.inject(world, 1),
        }
        true
    }

    /// Lets the answers to the next creates be lost, if they are to be.
    pub(super) async fn prepare(&self, world: &World, creates: usize) {
        let _changing = self.changing.lock().await;
        if self.has(Kind::AnswersLost) {
            self.inject(world, creates);
        }
    }

    fn has(&self, kind: Kind) -> bool {
        self.on.lock().contains(&kind)
    }

    fn inject(&self, world: &World, creates: usize) {
        world.pexip.traffic().heal();
        world.queue.traffic().heal();
        world.genesys.traffic().heal();
        if self.has(Kind::AnswersLost) {
            let lost = |method| (Matching::method(method), Times::N(creates), Fault::HangUpAfter);
            let (tag, times, fault) = lost(Method::PATCH);
            world.pexip.traffic().inject(tag, times, fault);
            let (claim, times, fault) = lost(Method::DELETE);
            world.queue.traffic().inject(claim, times, fault);
        }
        if self.has(Kind::PexipSlow) {
            world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(SLOW));
        }
        if self.has(Kind::GenesysBusy) {
            let headers = vec![("retry-after".to_owned(), "30".to_owned())];
            let busy = Fault::StatusWith { status: 429, headers, body: String::new() };
            world.genesys.traffic().inject(Matching::any(), Times::Always, busy);
        }
    }

    /// Keeps the rooms as they are now.
    pub(super) fn back_up(&self, world: &World) {
        let rooms = world.pexip.rooms();
        let next_id = rooms.iter().map(|room| room.id + 1).max().unwrap_or(1);
        *self.backup.lock() = Some(Backup { rooms, next_id });
    }

    pub(super) fn has_backup(&self) -> bool {
        self.backup.lock().is_some()
    }

    /// Lets the management node be as it was, with the ids that it gave since then still to be given.
    pub(super) fn restore(&self, world: &World) -> Option<usize> {
        let backup = self.backup.lock();
        let backup = backup.as_ref()?;
        world.pexip.restore_backup(backup.rooms.clone(), backup.next_id);
        Some(backup.rooms.len())
    }
}
