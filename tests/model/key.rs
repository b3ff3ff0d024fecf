//! The record of the request's `Idempotency-Key`: made before a room is taken, changed to done before the answer.

use crate::hand_out::{answer, destroy};
use crate::protocol::{Protocol, Wrong};
use crate::records::{KeyRecord, KeyWrite};
use crate::request::{Attempt, KeyCall, NoteCall, Phase, TaggedRoom};
use crate::step::{Call, KeyStep, RequestStep};
use crate::world::{Create, World};

use KeyStep as S;

/// The phase of a request that has just arrived.
pub(crate) fn start(protocol: &Protocol) -> Phase {
    if protocol.scope.has_keys() { Phase::Keying(KeyCall::Make, Attempt::First) } else { Phase::Waiting }
}

/// The phase of a request that ends without a room.
pub(crate) fn fail(protocol: &Protocol) -> Phase {
    if protocol.scope.has_keys() { Phase::Removing } else { Phase::Failed }
}

pub(crate) fn offer(phase: Phase) -> Vec<RequestStep> {
    // A late write covers a lost one, and one whose answer is lost: it may arrive at once or never.
    const WRITE: [Call; 2] = [Call::Answered, Call::Late];
    const READ: [Call; 2] = [Call::Answered, Call::Lost];
    match phase {
        Phase::Keying(KeyCall::Make, _) => WRITE.map(S::Makes).map(RequestStep::Key).to_vec(),
        Phase::Keying(KeyCall::Read, _) => READ.map(S::Reads).map(RequestStep::Key).to_vec(),
        Phase::Keying(KeyCall::TakeOver(_), _) => WRITE.map(S::TakesOver).map(RequestStep::Key).to_vec(),
        Phase::Replaying(_) => READ.map(S::Replays).map(RequestStep::Key).to_vec(),
        Phase::Tagged(_) | Phase::Noting(_, NoteCall::Write, _) => WRITE.map(S::Notes).map(RequestStep::Key).to_vec(),
        Phase::Noting(_, NoteCall::Read, _) => READ.map(S::ReadsNote).map(RequestStep::Key).to_vec(),
        Phase::Removing => WRITE.map(S::Removes).map(RequestStep::Key).to_vec(),
        _ => vec![],
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, create: Create, step: KeyStep) -> Option<Phase> {
    let running = KeyRecord { run: create, done: None };
    let phase = world.request(create).phase;
    Some(match (phase, step) {
        (Phase::Keying(KeyCall::Make, attempt), S::Makes(call)) => {
            let made = write(protocol, world, create, call, KeyWrite { expected: None, to: Some(running) });
            if made == Some(true) { Phase::Waiting } else { Phase::Keying(KeyCall::Read, attempt) }
        }
        (Phase::Keying(KeyCall::TakeOver(seen), attempt), S::TakesOver(call)) => {
            let taken = write(protocol, world, create, call, KeyWrite { expected: Some(seen), to: Some(running) });
            if taken == Some(true) { Phase::Waiting } else { Phase::Keying(KeyCall::Read, attempt) }
        }
        (Phase::Keying(KeyCall::Read, attempt), S::Reads(call)) => read(protocol, world, create, attempt, call),
        (Phase::Replaying(room), S::Replays(call)) => {
            let vmr = world.node.find(room).map(|(_, vmr)| vmr).filter(|_| call == Call::Answered);
            let unchecked = protocol.does(Wrong::ReplayWithoutTag) || protocol.does(Wrong::ReplayOfAnothersRoom);
            let usable = vmr.is_some_and(|vmr| unchecked || vmr.tag == Some(protocol.scope.citizen(create)));
            // Otherwise the room has ended, or its tag was lost in a restore.
            if usable { answer(protocol, world, create, room, true) } else { Phase::Failed }
        }
        (Phase::Tagged(tagged), S::Notes(call)) => note(protocol, world, create, tagged, Attempt::First, call),
        (Phase::Noting(tagged, NoteCall::Write, attempt), S::Notes(call)) => {
            note(protocol, world, create, tagged, attempt, call)
        }
        (Phase::Noting(tagged, NoteCall::Read, attempt), S::ReadsNote(call)) => {
            read_note(protocol, world, create, tagged, attempt, call)
        }
        (Phase::Removing, S::Removes(call)) => {
            write(protocol, world, create, call, KeyWrite { expected: Some(running), to: None });
            Phase::Failed
        }
        (phase, S::LateWrite) => {
            let late = world.request_mut(create).late_key.take()?;
            carry_out(protocol, world, late);
            phase
        }
        _ => return None,
    })
}

/// Whether the write was carried out; `None` if it was not answered.
fn write(protocol: &Protocol, world: &mut World, create: Create, call: Call, write: KeyWrite) -> Option<bool> {
    if call != Call::Answered {
        world.request_mut(create).late_key = Some(write);
        return None;
    }
    Some(carry_out(protocol, world, write))
}

fn carry_out(protocol: &Protocol, world: &mut World, write: KeyWrite) -> bool {
    let unconditional = match write {
        KeyWrite { to: None, .. } => protocol.does(Wrong::KeyRemovedWithoutETag),
        KeyWrite { to: Some(KeyRecord { done: Some(_), .. }), .. } => protocol.does(Wrong::DoneWithoutETag),
        KeyWrite { expected: Some(_), .. } => protocol.does(Wrong::TakeOverWithoutETag),
        KeyWrite { expected: None, .. } => false,
    };
    let expected = if unconditional { world.records.key() } else { write.expected };
    let done = world.records.write_key(KeyWrite { expected, ..write });
    // No run writes the same content twice, so a late write for an ETag of the past has no effect.
    let key = world.records.key();
    for request in &mut world.requests {
        request.late_key.take_if(|late| late.expected.is_some() && late.expected != key);
    }
    done
}

fn read(protocol: &Protocol, world: &World, create: Create, attempt: Attempt, call: Call) -> Phase {
    if call != Call::Answered {
        return Phase::Failed;
    }
    let same_uui_data = |run| {
        protocol.scope.citizen(run) == protocol.scope.citizen(create) || protocol.does(Wrong::ReplayOfAnothersRoom)
    };
    match world.records.key() {
        Some(record) if !same_uui_data(record.run) => Phase::Failed,
        Some(KeyRecord { done: Some(room), .. }) => Phase::Replaying(room),
        Some(KeyRecord { run, .. }) if run == create => Phase::Waiting,
        Some(record) if world.records.overdue && attempt == Attempt::First => {
            Phase::Keying(KeyCall::TakeOver(record), Attempt::Second)
        }
        None if attempt == Attempt::First => Phase::Keying(KeyCall::Make, Attempt::Second),
        Some(_) | None => Phase::Failed,
    }
}

/// Changes the key's record from running to done, with the room's name.
fn note(
    protocol: &Protocol,
    world: &mut World,
    create: Create,
    tagged: TaggedRoom,
    attempt: Attempt,
    call: Call,
) -> Phase {
    let running = KeyRecord { run: create, done: None };
    let done = KeyRecord { done: Some(tagged.room), ..running };
    match write(protocol, world, create, call, KeyWrite { expected: Some(running), to: Some(done) }) {
        Some(true) => Phase::Noted(tagged),
        // Another run has taken over: it answers with a room of its own.
        Some(false) if attempt == Attempt::First => destroy(protocol, tagged.room, tagged.id),
        Some(false) | None => Phase::Noting(tagged, NoteCall::Read, attempt),
    }
}

fn read_note(
    protocol: &Protocol,
    world: &World,
    create: Create,
    tagged: TaggedRoom,
    attempt: Attempt,
    call: Call,
) -> Phase {
    let record = world.records.key().filter(|record| record.run == create);
    match record {
        Some(KeyRecord { done: Some(_), .. }) if call == Call::Answered => Phase::Noted(tagged),
        Some(KeyRecord { done: None, .. }) if call == Call::Answered && attempt == Attempt::First => {
            Phase::Noting(tagged, NoteCall::Write, Attempt::Second)
        }
        None if call == Call::Answered => destroy(protocol, tagged.room, tagged.id),
        // Done may be written, or may be so later: a repetition may be answered with the room.
        _ if protocol.does(Wrong::DestroyedWhenDoneUnknown) => destroy(protocol, tagged.room, tagged.id),
        _ => Phase::Failed,
    }
}
