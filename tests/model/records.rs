use crate::world::{Create, ROOMS, Room};

/// The room records in Blob Storage. Only one `Idempotency-Key` is modelled: the record of another one is another blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Records {
    /// `claims/<room name>`.
    claims: [Option<ClaimId>; ROOMS],
    /// A make whose caller has given up waiting, while there is no such record. One for each room is enough: of
    /// several, only the first to arrive has an effect.
    late_claims: [Option<ClaimId>; ROOMS],
    /// `requests/<key>`.
    key: Option<KeyRecord>,
    /// The key's record says running, and the time until which it says so is over.
    pub(crate) overdue: bool,
}

/// The claim's random id, as the requests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClaimId {
    /// Made by this request's present claim.
    Of(Create),
    /// Its claim is over: nobody recognises the id.
    Past,
}

/// Stands for its `ETag`, too: no run writes the same content twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyRecord {
    /// The run id. The request's `uuiData` follows from it.
    pub(crate) run: Create,
    /// `None`: running.
    pub(crate) done: Option<Room>,
}

/// A conditional write to the key's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyWrite {
    /// `If-Match`; `None`: `If-None-Match: *`.
    pub(crate) expected: Option<KeyRecord>,
    /// `None`: the record is removed.
    pub(crate) to: Option<KeyRecord>,
}

impl Records {
    pub(crate) fn claim(&self, room: Room) -> Option<ClaimId> {
        self.claims[usize::from(room)]
    }

    /// Makes the claim's record if there is none. Returns whether it did.
    pub(crate) fn make_claim(&mut self, room: Room, id: ClaimId) -> bool {
        let made = self.claim(room).is_none();
        self.claims[usize::from(room)].get_or_insert(id);
        self.late_claims[usize::from(room)] = None;
        made
    }

    pub(crate) fn make_claim_late(&mut self, room: Room, id: ClaimId) {
        if self.claim(room).is_none() {
            self.late_claims[usize::from(room)].get_or_insert(id);
        }
    }

    pub(crate) fn late_claim(&self, room: Room) -> Option<ClaimId> {
        self.late_claims[usize::from(room)]
    }

    /// The abandoned make arrives. Returns whether there was one.
    pub(crate) fn late_claim_arrives(&mut self, room: Room) -> bool {
        let Some(id) = self.late_claims[usize::from(room)].take() else { return false };
        self.make_claim(room, id);
        true
    }

    /// The request's claim is over, won or lost.
    pub(crate) fn close_claim(&mut self, create: Create) {
        for id in self.claims.iter_mut().chain(&mut self.late_claims).flatten() {
            if *id == ClaimId::Of(create) {
                *id = ClaimId::Past;
            }
        }
    }

    pub(crate) fn key(&self) -> Option<KeyRecord> {
        self.key
    }

    /// Returns whether the condition was met.
    pub(crate) fn write_key(&mut self, write: KeyWrite) -> bool {
        let met = self.key == write.expected;
        if met {
            self.key = write.to;
            self.overdue = false;
        }
        met
    }
}
