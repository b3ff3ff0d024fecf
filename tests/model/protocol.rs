use stateright::{Model, Property};

use crate::search::Searched;
use crate::step::Step;
use crate::world::{Citizen, Create, Instance, World};
use crate::{hand_out, outside, prefetch, promises, upkeep};

/// No bound.
pub(crate) const ANY: u8 = u8::MAX;

/// The bounds of one search, which keep it finite and short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) instances: u8,
    /// Create requests, each for a citizen of its own unless `keys` says otherwise.
    pub(crate) creates: u8,
    pub(crate) keys: Keys,
    pub(crate) beside: Beside,
    /// Room names, for pool and direct rooms together.
    pub(crate) rooms: u8,
    /// Rooms in the pool at the start. The others can be provisioned.
    pub(crate) ready: u8,
    /// Calls that get no answer.
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
    pub(crate) backup: Backup,
    pub(crate) restore: Restore,
    /// Rooms on the node that this service did not make.
    pub(crate) foreign_rooms: u8,
    pub(crate) source: Source,
    /// `ready-until` and the margin pass.
    pub(crate) ages: bool,
    /// Citizens enter and leave, IDIM deletes rooms, lifetimes pass.
    pub(crate) ends: bool,
}

impl Scope {
    /// Two instances, two ready rooms and two citizens. Any call may fail; nothing else goes wrong.
    pub(crate) const HAND_OUT: Self = Self {
        instances: 2,
        creates: 2,
        keys: Keys::None,
        beside: Beside::Nothing,
        rooms: 2,
        ready: 2,
        faults: ANY,
        crashes: 0,
        backup: Backup::Never,
        restore: Restore::Noticed,
        foreign_rooms: 0,
        source: Source::Pool,
        ages: false,
        ends: false,
    };

    /// Two citizens for one room.
    pub(crate) const ONE_ROOM: Self = Self { rooms: 1, ready: 1, ..Self::HAND_OUT };

    /// Two requests with one key, on two instances. All rooms are direct: how a room was got makes no difference to the
    /// key's record.
    pub(crate) const KEYS: Self = Self { ready: 0, source: Source::Direct, keys: Keys::Same, ..Self::HAND_OUT };

    /// Like `KEYS`, with two rooms in the pool.
    pub(crate) const KEYS_IN_POOL: Self = Self { ready: 2, source: Source::Pool, ..Self::KEYS };

    /// The node is restored from a backup older than all rooms, so each id may be assigned to another room.
    pub(crate) const RESTORE: Self =
        Self { ready: 0, faults: 1, backup: Backup::AtStart, source: Source::PoolOrDirect, ..Self::HAND_OUT };

    /// Like `RESTORE`, with one citizen, one instance and one foreign room on the node.
    pub(crate) const RESTORE_WITH_FOREIGN_ROOM: Self =
        Self { instances: 1, creates: 1, faults: ANY, foreign_rooms: 1, ..Self::RESTORE };

    /// Symmetry reduction: without crashes, steps that leave no memory behind are the same at every instance.
    pub(crate) fn instances_that_differ(&self) -> u8 {
        if self.crashes > 0 { self.instances } else { 1 }
    }

    pub(crate) fn has_copies(&self) -> bool {
        matches!(self.beside, Beside::Copies(_))
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.keys != Keys::None
    }

    pub(crate) fn citizen(&self, create: Create) -> Citizen {
        match self.keys {
            Keys::None => create,
            Keys::Same => 0,
            Keys::SameForAnother => u8::from(create + 1 == self.creates),
        }
    }

    /// Whether both are one request to the service: same key, same `uuiData`.
    pub(crate) fn is_repetition(&self, one: Create, other: Create) -> bool {
        one == other || (self.has_keys() && self.citizen(one) == self.citizen(other))
    }

    pub(crate) fn is_old_build(&self, instance: Instance) -> bool {
        self.beside == Beside::OldBuild && instance + 1 == self.instances
    }
}

/// Where rooms come from that are not ready at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// They are provisioned.
    Pool,
    /// With `POOL_EMPTY=direct` they may also be made for one request.
    PoolOrDirect,
    /// All are made for one request.
    Direct,
}

/// The requests' `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    None,
    /// All requests carry one key and one citizen's `uuiData`.
    Same,
    /// Like `Same`, but the last request is for another citizen.
    SameForAnother,
}

/// What else works on the queue. Never copies and an old build together: the old build would claim the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// Somebody adds so many messages that name rooms of ours.
    Copies(u8),
    /// The last instance knows no records: it claims by the delete of the message alone.
    OldBuild,
}

/// When the backup is made. The node may be restored from it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backup {
    Never,
    AtStart,
    AtAnyMoment,
}

/// What the instances see of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    /// Every instance sees one of its calls fail, and so advances its failure epoch, before it uses earlier readings.
    Noticed,
    /// The restore happens between two calls of an instance, so the instance does not notice it.
    Unnoticed,
    /// Noticed, but the restore may also happen between the check by id and the delete that follows at once.
    EvenBeforeADelete,
}

/// A mistake that a change to the service could introduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The tag is written before the claim.
    TagBeforeClaim,
    /// The tag is written after the claim's record is made, but before the message is deleted.
    TagBeforeDelete,
    /// A room counts as claimed once its message is deleted. No record is made.
    ClaimByDeleteAlone,
    /// A room counts as claimed once its record is made, whatever the queue answers to the delete.
    ClaimByRecordAlone,
    /// After an unanswered make of the claim's record it is made again, and 409 read as success of the first.
    RecordNotRead,
    /// A failed request removes its key's record without the `ETag`.
    KeyRemovedWithoutETag,
    /// A run changes its key's record to done without the `ETag`.
    DoneWithoutETag,
    /// The record of a run past its time is taken over without the `ETag`.
    TakeOverWithoutETag,
    /// The answer goes out before the key's record says done.
    AnswerBeforeDone,
    /// The room is destroyed if the change to done stays unanswered.
    DestroyedWhenDoneUnknown,
    /// The room in the key's record is answered to another `uuiData`.
    ReplayOfAnothersRoom,
    /// A replay does not look whether the room still has the tag.
    ReplayWithoutTag,
    /// 404 for the second delete is read as success of the first.
    NotFoundTakenAsClaimed,
    /// An unanswered put of a message is retried.
    PutRepeated,
    /// A claimed room that could not be tagged is put back into the queue.
    RoomGivenBack,
    /// The message lives longer than the room's `ready-until`, and the check ignores the mark.
    MessageOutlivesMark,
    /// The tag is written without the mark `handed-out`.
    TagWithoutMark,
    /// Rooms checked before a node failure are claimed without another check.
    StalePrefetchUsed,
    /// The tag is written by an id read before a node failure, without another check.
    TagWithoutCheck,
    /// A room is destroyed by its id, without another check.
    DestroyWithoutCheck,
    /// A room is swept by its id, without another check.
    SweepWithoutCheck,
    /// An unanswered delete is retried with the same id.
    DeleteRepeated,
    /// One presence snapshot without participants is enough to sweep a room.
    OnePresenceSnapshot,
    /// Nobody looks who is in the room directly before the sweep's delete.
    SweepWithoutLook,
    /// The sweep disconnects a deleted room's call without another look.
    DisconnectWithoutLook,
    /// A call is ended because no room has its name.
    CallWithoutRoomEnded,
    /// IDIM's delete is not noted in a queue before the room is removed.
    DeleteWithoutMessage,
}

/// The protocol within a scope, with at most one mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) wrong: Option<Wrong>,
}

impl Protocol {
    pub(crate) fn does(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Whether a tagged room is noted in the key's record before the answer.
    pub(crate) fn notes_done(&self) -> bool {
        self.scope.has_keys() && !self.does(Wrong::AnswerBeforeDone)
    }

    /// The state after `step`; `None` if the step is impossible in `world`.
    pub(crate) fn after(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        if step.is_fault() && next.faults_to_come != ANY {
            next.faults_to_come = next.faults_to_come.checked_sub(1)?;
        }
        let taken = match step {
            Step::Request(create, step) => hand_out::take(self, &mut next, create, step),
            Step::Prefetch(instance, step) => prefetch::take(self, &mut next, instance, step),
            Step::Upkeep(step) => upkeep::take(self, &mut next, step),
            Step::Outside(step) => outside::take(self, &mut next, step),
        };
        taken.then_some(next)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::at_start(&self.scope)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        hand_out::offer(self, world, steps);
        prefetch::offer(self, world, steps);
        upkeep::offer(self, world, steps);
        outside::offer(self, world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        self.after(world, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties(self)
    }
}

impl Searched for Protocol {}
