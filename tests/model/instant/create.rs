//! One create request: the key's record, the room's record, the answer.
//!
//! ```text
//! NotArrived ─▶ Keying ─▶ Choosing ─▶ Making ─▶ Made ─▶ Noted ─▶ Answered
//!                  │                    │         │        │
//!                  ▼                    ▼         ▼        ▼
//!              Replaying           GivingUp   Destroying  kept: the key finds it
//! ```
//!
//! Keying, replaying, giving up and noting exist only with an `Idempotency-Key`.

use super::promises::Promise;
use super::protocol::{Protocol, Source, Wrong};
use super::step::{RequestStep, Step};
use super::world::{Pins, Record, Room, Shown, World};
use crate::records::{KeyRecord, KeyWrite};
use crate::request::{Attempt, KeyCall};
use crate::step::Call;
use crate::world::Create;

use RequestStep as S;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) phase: Phase,
    /// An abandoned write to the key's record.
    late_key: Option<KeyWrite>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    #[default]
    NotArrived,
    /// The key's record is made or taken over.
    Keying(KeyCall),
    /// `choose_source`.
    Choosing,
    Making(Attempt),
    /// The make was not answered, or the second one met a record: whose is it?
    ReadingRoom(Attempt),
    Made,
    /// The key's record says done.
    Noted,
    /// Answers the room in the key's record.
    Replaying(Room),
    Answered(Room),
    /// No caller has the room.
    Destroying,
    /// The request fails without a room: its key's record is removed.
    GivingUp,
    Failed,
}

impl Phase {
    pub(super) fn is_under_way(self) -> bool {
        !matches!(self, Self::NotArrived | Self::Answered(_) | Self::Failed)
    }
}

pub(super) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    // A late write covers a lost one, and one whose answer is lost: it may arrive at once or never.
    const WRITE: [Call; 2] = [Call::Answered, Call::Late];
    const READ: [Call; 2] = [Call::Answered, Call::Lost];
    for create in 0..protocol.scope.creates {
        let mut add = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Request(create, *step)));
        let request = world.request(create);
        match request.phase {
            Phase::NotArrived => {
                // Symmetry reduction: requests arrive in order.
                if create == 0 || world.request(create - 1).phase != Phase::NotArrived {
                    add(&[S::Arrives]);
                }
            }
            Phase::Keying(KeyCall::Make) => add(&WRITE.map(S::MakesKey)),
            Phase::Keying(KeyCall::Read) => add(&READ.map(S::ReadsKey)),
            Phase::Keying(KeyCall::TakeOver(_)) => add(&WRITE.map(S::TakesKeyOver)),
            Phase::Choosing => {
                add(&WRITE.map(S::MakesRoom));
                if protocol.scope.source == Source::PoolOrInstant {
                    add(&[S::TakesFromPool]);
                }
            }
            Phase::Making(_) => add(&WRITE.map(S::MakesRoom)),
            Phase::ReadingRoom(_) => add(&READ.map(S::ReadsRoom)),
            Phase::Made if protocol.scope.keys => add(&WRITE.map(S::Notes)),
            Phase::Made | Phase::Noted => add(&[S::Answers, S::CallerIsGone]),
            Phase::Replaying(_) => add(&READ.map(S::Replays)),
            Phase::Destroying => add(&WRITE.map(S::Destroys)),
            Phase::GivingUp => add(&WRITE.map(S::RemovesKey)),
            Phase::Answered(_) | Phase::Failed => {}
        }
        if request.late_key.is_some() {
            add(&[S::LateKey]);
        }
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take(protocol: &Protocol, world: &mut World, create: Create, step: RequestStep) -> bool {
    let room = protocol.scope.room(create);
    let running = KeyRecord { run: create, done: None };
    let next = match (world.request(create).phase, step) {
        (Phase::NotArrived, S::Arrives) if protocol.scope.keys => Phase::Keying(KeyCall::Make),
        (Phase::NotArrived, S::Arrives) => Phase::Choosing,
        (Phase::Keying(KeyCall::Make), S::MakesKey(call)) => {
            match write_key(world, create, call, KeyWrite { expected: None, to: Some(running) }) {
                Some(true) => Phase::Choosing,
                Some(false) => Phase::Keying(KeyCall::Read),
                None => Phase::Failed,
            }
        }
        (Phase::Keying(KeyCall::Read), S::ReadsKey(call)) => read_key(world, call),
        (Phase::Keying(KeyCall::TakeOver(seen)), S::TakesKeyOver(call)) => {
            match write_key(world, create, call, KeyWrite { expected: Some(seen), to: Some(running) }) {
                Some(true) => Phase::Choosing,
                Some(false) | None => Phase::Failed,
            }
        }
        (Phase::Choosing, S::TakesFromPool) => {
            world.room_mut(room).record = Record::OnPexip;
            Phase::Made
        }
        (Phase::Choosing, S::MakesRoom(call)) => make_room(protocol, world, create, Attempt::First, call),
        (Phase::Making(attempt), S::MakesRoom(call)) => make_room(protocol, world, create, attempt, call),
        (Phase::ReadingRoom(attempt), S::ReadsRoom(call)) => match world.room(room).record {
            Record::Open(maker) if maker == create && call == Call::Answered => Phase::Made,
            Record::None if attempt == Attempt::First && call == Call::Answered => Phase::Making(Attempt::Second),
            // A record that may still arrive: nobody knows its name.
            _ => fail(protocol),
        },
        (Phase::Made, S::Notes(call)) => {
            let done = KeyRecord { done: Some(room), ..running };
            match write_key(world, create, call, KeyWrite { expected: Some(running), to: Some(done) }) {
                Some(true) => Phase::Noted,
                // Another run has taken over: it answers with a room of its own.
                Some(false) => Phase::Destroying,
                None if protocol.does(Wrong::DestroyedWhenDoneUnknown) => Phase::Destroying,
                // A repetition may be answered with the room.
                None => Phase::Failed,
            }
        }
        (Phase::Made | Phase::Noted, S::Answers) => answer(protocol, world, create, room, create),
        (Phase::Made, S::CallerIsGone) => Phase::Destroying,
        // The key finds the room again.
        (Phase::Noted, S::CallerIsGone) => Phase::Failed,
        (Phase::Replaying(room), S::Replays(call)) => replay(protocol, world, create, room, call),
        (Phase::Destroying, S::Destroys(call)) => destroy(protocol, world, room, call),
        (Phase::GivingUp, S::RemovesKey(call)) => {
            write_key(world, create, call, KeyWrite { expected: Some(running), to: None });
            Phase::Failed
        }
        (phase, S::LateKey) => {
            let Some(late) = world.request_mut(create).late_key.take() else { return false };
            carry_out(world, late);
            phase
        }
        _ => return false,
    };
    world.request_mut(create).phase = next;
    true
}

/// Whether the write was carried out; `None` if that stays unknown.
fn write_key(world: &mut World, create: Create, call: Call, write: KeyWrite) -> Option<bool> {
    if call == Call::Answered {
        return Some(carry_out(world, write));
    }
    world.request_mut(create).late_key = Some(write);
    None
}

fn carry_out(world: &mut World, write: KeyWrite) -> bool {
    let done = world.records.write_key(write);
    // No run writes the same content twice, so a late write for an ETag of the past has no effect.
    let key = world.records.key();
    for request in &mut world.requests {
        request.late_key.take_if(|late| late.expected.is_some() && late.expected != key);
    }
    done
}

fn read_key(world: &World, call: Call) -> Phase {
    match world.records.key() {
        Some(KeyRecord { done: Some(room), .. }) if call == Call::Answered => Phase::Replaying(room),
        Some(record) if world.records.overdue && call == Call::Answered => Phase::Keying(KeyCall::TakeOver(record)),
        None if call == Call::Answered => Phase::Keying(KeyCall::Make),
        // It runs, or its state is unknown.
        _ => Phase::Failed,
    }
}

fn fail(protocol: &Protocol) -> Phase {
    if protocol.scope.keys { Phase::GivingUp } else { Phase::Failed }
}

fn make_room(protocol: &Protocol, world: &mut World, create: Create, attempt: Attempt, call: Call) -> Phase {
    let room = protocol.scope.room(create);
    if call != Call::Answered {
        world.room_mut(room).late_make = Some(create);
        return Phase::ReadingRoom(attempt);
    }
    if world.make_record(protocol, room, create) || protocol.does(Wrong::TakenNameUsed) {
        return Phase::Made;
    }
    match attempt {
        Attempt::First => fail(protocol),
        // The first one may have arrived since the read.
        Attempt::Second => Phase::ReadingRoom(attempt),
    }
}

fn answer(protocol: &Protocol, world: &mut World, create: Create, room: Room, maker: Create) -> Phase {
    for (other, request) in (0..).zip(world.requests) {
        let Phase::Answered(answered) = request.phase else { continue };
        let is_repetition = protocol.scope.citizen(other) == protocol.scope.citizen(create);
        if answered == room && !is_repetition {
            world.breaks(Promise::Exclusive);
        }
        if answered != room && is_repetition {
            world.breaks(Promise::Once);
        }
    }
    world.show(room, Shown { maker, pins: Pins::OfRoom });
    Phase::Answered(room)
}

fn replay(protocol: &Protocol, world: &mut World, create: Create, room: Room, call: Call) -> Phase {
    if call != Call::Answered {
        return Phase::Failed;
    }
    let life = *world.room(room);
    let found = match life.record {
        Record::Open(maker) if life.open().is_some() => maker,
        Record::OnPexip => room,
        _ if protocol.does(Wrong::RoomThatIsOverReplayed) => room,
        _ => return Phase::Failed,
    };
    if life.is_over() {
        world.breaks(Promise::NotOver);
    }
    answer(protocol, world, create, room, found)
}

fn destroy(protocol: &Protocol, world: &mut World, room: Room, call: Call) -> Phase {
    let life = world.room_mut(room);
    let is_to_end = life.open().is_some();
    if is_to_end && life.is_known() {
        world.breaks(Promise::Kept);
    }
    if is_to_end && call == Call::Answered {
        if world.end_record(protocol, room) {
            world.report_end(room);
        }
    } else if is_to_end {
        world.room_mut(room).has_late_end = true;
    }
    Phase::Failed
}
