use stateright::{Model, Property};

use super::step::Step;
use super::world::{Room, World};
use super::{create, end, look_up, outside, promises, sweep};
use crate::search::Searched;
use crate::world::{Citizen, Create};

/// The bounds of one search, which keep it finite and short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Create requests. Each draws a room name of its own, unless `names` says otherwise.
    pub(super) creates: u8,
    /// All requests carry one `Idempotency-Key` and one citizen's `uuiData`. Otherwise each is for a citizen of its own.
    pub(super) keys: bool,
    pub(super) source: Source,
    pub(super) names: Names,
    pub(super) validity: Validity,
    pub(super) clocks: Clocks,
    /// Callers, each at a Conferencing Node of its own.
    pub(super) callers: u8,
    /// IDIM deletes rooms, conferences end, maintenance runs.
    pub(super) ends: bool,
    /// A conference runs whose room is another deployment's, with the same prefix.
    pub(super) elsewhere: bool,
    /// Calls that get no answer.
    pub(super) faults: u8,
    /// Tasks that are killed with their instance.
    pub(super) kills: u8,
}

impl Scope {
    /// One room and two callers. Each end of a room may happen.
    pub(super) const ONE_ROOM: Self = Self {
        creates: 1,
        keys: false,
        source: Source::Instant,
        names: Names::Random,
        validity: Validity::AtOnce,
        clocks: Clocks::Agree,
        callers: 2,
        ends: true,
        elsewhere: false,
        faults: 1,
        kills: 0,
    };

    /// Two requests for two citizens, and one caller.
    pub(super) const TWO_CITIZENS: Self = Self { creates: 2, callers: 1, ends: false, ..Self::ONE_ROOM };

    /// Two requests with one key, and no caller.
    pub(super) const KEYS: Self = Self { creates: 2, keys: true, callers: 0, ends: false, faults: 2, ..Self::ONE_ROOM };

    pub(super) fn citizen(&self, create: Create) -> Citizen {
        if self.keys { 0 } else { create }
    }

    /// The name that this request draws.
    pub(super) fn room(&self, create: Create) -> Room {
        match self.names {
            Names::Random => create,
            Names::Same => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `ROOM_SOURCE=instant`.
    Instant,
    /// `POOL_EMPTY=instant`. How a room of the pool is claimed is the other model's.
    PoolOrInstant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Random,
    /// All requests draw the same one.
    Same,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// Begins with the room, and does not end within the search.
    Unending,
    /// Begins with the room.
    AtOnce,
    /// The caller's own; begins later.
    Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clocks {
    Agree,
    /// Look-ups may be answered by an instance whose clock is behind.
    OneBehind,
}

/// A mistake that a change to the service could introduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// PINs are not frozen in the record, but drawn for each answer.
    PinPerAnswer,
    /// A room's name that is in use already is taken for the request's own.
    TakenNameUsed,
    /// The room's record is made without `If-None-Match`.
    MadeUnconditionally,
    /// The record is changed to ended without the `ETag`.
    EndedWithoutETag,
    /// An instance answers a look-up with success because it has done so before.
    SuccessCached,
    /// The beginning of a validity that begins with the room is compared with a clock.
    BeginningByClock,
    /// A look-up does not see that the validity is over.
    EndOfValidityIgnored,
    /// A conference dials out only while its room can be joined.
    DialOutWithoutMargin,
    /// A room of ours without a record is rejected, a room of the pool too.
    PoolRoomRejected,
    /// A repetition is answered with a room that is over.
    RoomThatIsOverReplayed,
    /// The room is destroyed if the key's change to done stays unanswered.
    DestroyedWhenDoneUnknown,
    /// The conference is looked for once only after the end.
    EndWithoutSecondDisconnect,
    /// The conference is disconnected before the record is ended.
    DisconnectedBeforeEnd,
    /// One reading of presence without participants is enough.
    OneReading,
    /// Nobody looks who is in the room directly before its record is ended.
    EndWithoutLook,
    /// The end of its conference ends a room whose validity is the caller's own.
    OwnValidityIgnored,
    /// The sweep disconnects a conference whose room has no record.
    SweptWithoutRecord,
    /// The sweep takes a record that it cannot read for one that is over.
    SweptUnread,
    /// The sweep disconnects conferences of ended rooms only, not those whose validity is over.
    ExpiredNotSwept,
}

/// The protocol within a scope, with at most one mistake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) scope: Scope,
    pub(super) wrong: Option<Wrong>,
}

impl Protocol {
    pub(super) fn does(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// The state after `step`; `None` if the step is impossible in `world`.
    pub(super) fn after(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        if step.is_fault() {
            next.faults_to_come = next.faults_to_come.checked_sub(1)?;
        }
        let taken = match step {
            Step::Request(create, step) => create::take(self, &mut next, create, step),
            Step::Caller(caller, step) => look_up::take(self, &mut next, caller, step),
            Step::Delete(room, step) => end::take_delete(self, &mut next, room, step),
            Step::Hint(room, step) => end::take_hint(self, &mut next, room, step),
            Step::Sweep(step) => sweep::take(self, &mut next, step),
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
        // So that the last step of the path that is shown is the one that breaks the promise.
        if world.has_broken_promise() {
            return;
        }
        create::offer(self, world, steps);
        look_up::offer(self, world, steps);
        if self.scope.ends {
            end::offer(world, steps);
            sweep::offer(world, steps);
        }
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
