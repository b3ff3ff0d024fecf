//! The claim: the room's record is made and its message deleted, side by side. The room is the request's only if both
//! succeed.

use crate::promises::Promise;
use crate::protocol::{Protocol, Wrong};
use crate::queue::{Delete, Holder, Message};
use crate::records::ClaimId;
use crate::request::{Attempt, Claiming, MessageHalf, Phase, ReadyRoom, RecordHalf, TaggedRoom};
use crate::step::{Call, ClaimStep, RequestStep};
use crate::world::{Create, Room, World};

use ClaimStep as S;

pub(crate) fn start(protocol: &Protocol, world: &World, create: Create, ready: ReadyRoom) -> Phase {
    let by_delete_alone = is_at_old_build(protocol, world, create) || protocol.does(Wrong::ClaimByDeleteAlone);
    let record = if by_delete_alone { RecordHalf::NotNeeded } else { RecordHalf::Make(Attempt::First) };
    Phase::Claiming(Claiming { ready, record, message: MessageHalf::Delete(Attempt::First), tagged: false })
}

/// With a mistake, what is left of the claim after the tag.
pub(crate) fn after_tag(protocol: &Protocol, ready: ReadyRoom) -> Option<Phase> {
    let record = match protocol.wrong {
        Some(Wrong::TagBeforeClaim) => RecordHalf::Make(Attempt::First),
        Some(Wrong::TagBeforeDelete) => RecordHalf::Ours,
        _ => return None,
    };
    Some(Phase::Claiming(Claiming { ready, record, message: MessageHalf::Delete(Attempt::First), tagged: true }))
}

fn is_at_old_build(protocol: &Protocol, world: &World, create: Create) -> bool {
    protocol.scope.is_old_build(world.request(create).at)
}

/// The old build makes no mistake.
fn does(protocol: &Protocol, world: &World, create: Create, wrong: Wrong) -> bool {
    protocol.does(wrong) && !is_at_old_build(protocol, world, create)
}

pub(crate) fn offer(claiming: Claiming) -> Vec<RequestStep> {
    // A late make covers a lost one, and one whose answer is lost: it may arrive at once or never.
    let record = match claiming.record {
        RecordHalf::Make(_) => [Call::Answered, Call::Late].map(S::MakesRecord).to_vec(),
        RecordHalf::Read(_) => [Call::Answered, Call::Lost].map(S::ReadsRecord).to_vec(),
        RecordHalf::Ours | RecordHalf::NotOurs | RecordHalf::NotNeeded => vec![],
    };
    let message = match claiming.message {
        MessageHalf::Delete(Attempt::First) => vec![Call::Answered, Call::AnswerLost, Call::Lost],
        MessageHalf::Delete(Attempt::Second) => vec![Call::Answered, Call::AnswerLost, Call::Lost, Call::Late],
        MessageHalf::Deleted | MessageHalf::NotOurs => vec![],
    };
    record.into_iter().chain(message.into_iter().map(S::DeletesMessage)).map(RequestStep::Claim).collect()
}

pub(crate) fn take(
    protocol: &Protocol,
    world: &mut World,
    create: Create,
    mut claiming: Claiming,
    step: ClaimStep,
) -> Option<Phase> {
    let Claiming { ready, record, message, tagged } = claiming;
    let room = ready.message.room;
    let delete_comes_last = does(protocol, world, create, Wrong::TagBeforeDelete) && !tagged;
    match (record, message, step) {
        (RecordHalf::Make(attempt), _, S::MakesRecord(call)) => {
            claiming.record = make_record(protocol, world, create, room, attempt, call);
        }
        (RecordHalf::Read(attempt), _, S::ReadsRecord(call)) => {
            claiming.record = read_record(world, create, room, attempt, call);
        }
        (_, MessageHalf::Delete(attempt), S::DeletesMessage(call)) if !delete_comes_last => {
            claiming.message = delete_message(protocol, world, create, ready.message, attempt, call);
        }
        _ => return None,
    }
    if delete_comes_last && claiming.record == RecordHalf::Ours {
        return Some(Phase::Tagging(ready));
    }
    Some(conclude(world, create, claiming))
}

fn make_record(
    protocol: &Protocol,
    world: &mut World,
    create: Create,
    room: Room,
    attempt: Attempt,
    call: Call,
) -> RecordHalf {
    let unread = protocol.does(Wrong::RecordNotRead);
    let id = ClaimId::Of(create);
    if call != Call::Answered {
        world.records.make_claim_late(room, id);
        return if unread { RecordHalf::Make(Attempt::Second) } else { RecordHalf::Read(attempt) };
    }
    if world.records.make_claim(room, id) {
        return RecordHalf::Ours;
    }
    match attempt {
        Attempt::First => RecordHalf::NotOurs,
        Attempt::Second if unread => RecordHalf::Ours,
        // The first one may have arrived since the read.
        Attempt::Second => RecordHalf::Read(Attempt::Second),
    }
}

fn read_record(world: &World, create: Create, room: Room, attempt: Attempt, call: Call) -> RecordHalf {
    match (call, world.records.claim(room)) {
        (Call::Answered, Some(id)) if id == ClaimId::Of(create) => RecordHalf::Ours,
        (Call::Answered, None) if attempt == Attempt::First => RecordHalf::Make(Attempt::Second),
        _ => RecordHalf::NotOurs,
    }
}

fn delete_message(
    protocol: &Protocol,
    world: &mut World,
    create: Create,
    message: Message,
    attempt: Attempt,
    call: Call,
) -> MessageHalf {
    let receipt = Holder::Request(create);
    let answer = match call {
        Call::Answered | Call::AnswerLost => Some(world.queue.delete(message, receipt)),
        Call::Late => {
            world.queue.pass(message, receipt, Holder::LateDelete);
            None
        }
        Call::Lost => None,
    };
    let mistaken = |wrong| does(protocol, world, create, wrong);
    match answer.filter(|_| call == Call::Answered) {
        _ if mistaken(Wrong::ClaimByRecordAlone) => MessageHalf::Deleted,
        Some(Delete::Done) => MessageHalf::Deleted,
        Some(Delete::NotFound) if attempt == Attempt::Second && mistaken(Wrong::NotFoundTakenAsClaimed) => {
            MessageHalf::Deleted
        }
        None if attempt == Attempt::First => MessageHalf::Delete(Attempt::Second),
        _ => MessageHalf::NotOurs,
    }
}

fn conclude(world: &mut World, create: Create, claiming: Claiming) -> Phase {
    let Claiming { ready, record, message, tagged } = claiming;
    let record_open = matches!(record, RecordHalf::Make(_) | RecordHalf::Read(_));
    if record_open || matches!(message, MessageHalf::Delete(_)) {
        return Phase::Claiming(claiming);
    }
    world.records.close_claim(create);
    if record == RecordHalf::NotOurs || message == MessageHalf::NotOurs {
        // Somebody else's, or unknown: the room must not be used.
        world.queue.pass(ready.message, Holder::Request(create), Holder::Nobody);
        return Phase::Waiting;
    }
    let room = ready.message.room;
    if std::mem::replace(&mut world.life_mut(room).claimed, true) {
        world.breaks(Promise::NoReturn);
    }
    if tagged { Phase::Tagged(TaggedRoom { room, id: ready.id, kept: true }) } else { Phase::Tagging(ready) }
}
