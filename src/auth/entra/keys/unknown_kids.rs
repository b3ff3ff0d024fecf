//! The `kid`s that no read has listed, and when a request for one of them causes a read.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::snapshot::Snapshot;

/// Time from the first request with a `kid` that no read has listed to another read for it: Entra may list a new key
/// only seconds after the first token that the key signed.
const REREAD_AFTER: Duration = Duration::from_secs(30);

/// So many unknown `kid`s within a minute are a flood of made-up ones: they cause no repeated read and are invalid.
const FLOOD: usize = 10;
const FLOOD_WINDOW: Duration = Duration::from_secs(60);

/// Bound on the unknown `kid`s in memory. Beyond it the one that has not come for longest is forgotten.
const MAX_UNKNOWN: usize = 512;

/// A `kid` that requests have named and no read has listed.
#[derive(Clone, Copy)]
pub(super) struct UnknownKid {
    first_came: Instant,
    last_came: Instant,
    /// A read late enough after the first request has lacked it.
    pub(super) is_confirmed_unknown: bool,
}

pub(super) struct UnknownKids {
    kids: HashMap<String, UnknownKid>,
    min_refresh: Duration,
    /// An unknown `kid` causes no read before this time, except for its repeated read.
    next_read_for_unknown: Instant,
    /// No repeated read before this time.
    next_reread: Instant,
}

impl UnknownKids {
    pub(super) fn new(min_refresh: Duration) -> Self {
        let now = Instant::now();
        Self { kids: HashMap::new(), min_refresh, next_read_for_unknown: now, next_reread: now }
    }

    /// Remembers that a request named this `kid`.
    pub(super) fn note(&mut self, kid: String, now: Instant) -> UnknownKid {
        if self.kids.len() >= MAX_UNKNOWN && !self.kids.contains_key(&kid) {
            let longest_ago = self.kids.iter().min_by_key(|(_, unknown)| unknown.last_came);
            if let Some(kid) = longest_ago.map(|(kid, _)| kid.clone()) {
                self.kids.remove(&kid);
            }
        }
        let new = UnknownKid { first_came: now, last_came: now, is_confirmed_unknown: false };
        let noted = self.kids.entry(kid).or_insert(new);
        noted.last_came = now;
        *noted
    }

    pub(super) fn is_flooded(&self, now: Instant) -> bool {
        self.kids.values().filter(|unknown| now < unknown.last_came + FLOOD_WINDOW).count() >= FLOOD
    }

    /// Also true of a `kid` that a read has listed, or that is forgotten.
    pub(super) fn is_confirmed_unknown(&self, kid: &str) -> bool {
        self.kids.get(kid).is_none_or(|unknown| unknown.is_confirmed_unknown)
    }

    /// When any unknown `kid` may cause a read.
    pub(super) fn next_read_for_unknown(&self) -> Instant {
        self.next_read_for_unknown
    }

    /// When this `kid` may cause its repeated read.
    pub(super) fn reread_of(&self, unknown: UnknownKid) -> Instant {
        (unknown.first_came + REREAD_AFTER).max(self.next_reread)
    }

    /// A read begun at this time has succeeded.
    pub(super) fn mark_read(&mut self, begun: Instant, snapshot: &Snapshot) {
        self.kids.retain(|kid, _| !snapshot.has(kid));
        let late_enough = REREAD_AFTER.min(self.min_refresh);
        for unknown in self.kids.values_mut() {
            unknown.is_confirmed_unknown |= begun >= unknown.first_came + late_enough;
        }
    }

    /// A read for an unknown `kid` has succeeded. Delays the next repeated read by [`REREAD_AFTER`] and, unless this
    /// one was repeated, the next first read by `min_refresh`.
    pub(super) fn put_off(&mut self, was_repeated: bool) {
        let now = Instant::now();
        self.next_reread = now + REREAD_AFTER;
        if !was_repeated {
            self.next_read_for_unknown = now + self.min_refresh;
        }
    }

    /// A read has failed: no unknown `kid` causes one before `retry`. Otherwise every made-up one would call a failing
    /// endpoint.
    pub(super) fn put_off_until(&mut self, retry: Instant) {
        self.next_read_for_unknown = self.next_read_for_unknown.max(retry);
        self.next_reread = self.next_reread.max(retry);
    }
}
