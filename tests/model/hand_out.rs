//! One request: take a leased room, claim it, tag it, answer. And what ends the room that it was given.

use crate::promises::Promise;
use crate::protocol::{Protocol, Restore, Wrong};
use crate::queue::{Delete, Holder};
use crate::step::{Call, RequestStep, Step};
use crate::world::{Age, Attempt, Citizen, End, Id, Instance, Phase, Prefetch, ReadyRoom, Room, World};

use RequestStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for citizen in 0..protocol.scope.citizens {
        let mut can = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Request(citizen, *step)));
        let request = world.request(citizen);
        match request.phase {
            Phase::NotYet => {
                // Citizens come in their order, the first to the first instance: which is which makes no difference.
                let comes = citizen == 0 || world.request(citizen - 1).phase != Phase::NotYet;
                let doors = if citizen == 0 { 1 } else { protocol.scope.instances };
                for instance in (0..doors).filter(|_| comes) {
                    can(&[S::Arrives(instance)]);
                }
            }
            Phase::Waiting => {
                can(&[S::Takes, S::MakesDirect(Call::Answered), S::MakesDirect(Call::Lost), S::Fails]);
            }
            Phase::Claiming(_, attempt) => {
                can(&[Call::Answered, Call::AnswerLost, Call::Lost].map(S::Claims));
                if attempt == Attempt::Second {
                    can(&[S::Claims(Call::Late)]);
                }
            }
            Phase::Tagging(_) => {
                can(&[Call::Answered, Call::AnswerLost, Call::Lost, Call::Late].map(S::Tags));
                can(&[S::LooksAgain, S::Fails]);
            }
            Phase::Tagged { .. } => can(&[S::Answers, S::CallerIsGone]),
            Phase::MakingDirect(_) => can(&[S::FindsDirect]),
            Phase::Destroying { looked, .. } => {
                let next = if looked { S::DestroyDeletes(Call::Answered) } else { S::DestroyLooks };
                // Not done, it is left to the sweep.
                can(&[next, S::DestroyDeletes(Call::Lost)]);
            }
            Phase::Answered(_) => match request.end {
                End::NotAsked if protocol.scope.ends => {
                    for instance in 0..protocol.scope.instances_that_differ() {
                        can(&[S::IsEnded(instance)]);
                    }
                }
                End::Deleting { .. } => can(&[Call::Answered, Call::AnswerLost, Call::Lost].map(S::EndDeletes)),
                End::NotAsked | End::Done => {}
            },
            Phase::Failed => {}
        }
        if request.late_tag.is_some() {
            can(&[S::LateTag]);
        }
    }
}

/// Takes the step, if it can be taken.
pub(crate) fn take(protocol: &Protocol, world: &mut World, citizen: Citizen, step: RequestStep) -> bool {
    let next = match (world.request(citizen).phase, step) {
        (Phase::NotYet, S::Arrives(instance)) => {
            world.request_mut(citizen).at = instance;
            Some(Phase::Waiting)
        }
        (Phase::Waiting, S::Takes) => take_prefetched(protocol, world, citizen),
        (Phase::Waiting, S::MakesDirect(call)) => make_direct(protocol, world, citizen, call),
        (Phase::Waiting, S::Fails) => Some(Phase::Failed),
        (Phase::Claiming(ready, attempt), S::Claims(call)) => {
            Some(claim(protocol, world, citizen, ready, attempt, call))
        }
        (Phase::Tagging(ready), S::LooksAgain) => look_again(world, citizen, ready),
        (Phase::Tagging(ready), S::Tags(call)) => tag(protocol, world, citizen, ready, call),
        (Phase::Tagging(ready), S::Fails) => Some(give_up_tagging(protocol, world, ready)),
        (Phase::Tagged { room, kept, .. }, S::Answers) => Some(answer(world, citizen, room, kept)),
        (Phase::Tagged { room, id, .. }, S::CallerIsGone) => Some(destroy(protocol, room, id)),
        (Phase::MakingDirect(room), S::FindsDirect) => Some(match world.node.find(room) {
            Some((id, _)) => Phase::Tagged { room, id, kept: true },
            None => Phase::Failed,
        }),
        (Phase::Destroying { room, id, .. }, S::DestroyLooks) => {
            let still = world.node.has(id, room);
            Some(if still { Phase::Destroying { room, id, looked: true } } else { Phase::Failed })
        }
        (Phase::Destroying { room, id, .. }, S::DestroyDeletes(call)) => {
            if call == Call::Answered {
                world.delete(id, room, false);
            }
            Some(Phase::Failed)
        }
        (phase, S::LateTag) => {
            if let Some(id) = world.request_mut(citizen).late_tag.take() {
                world.write_tag(citizen, id, !protocol.does(Wrong::TagWithoutMark));
            }
            Some(phase)
        }
        (Phase::Answered(room), S::IsEnded(at)) => {
            // Where there is no such room, the caller learns just that and may ask again.
            world.node.find(room).map(|(id, _)| {
                world.request_mut(citizen).end = End::Deleting { at, id, unanswered: false };
                Phase::Answered(room)
            })
        }
        (Phase::Answered(room), S::EndDeletes(call)) => {
            end(protocol, world, citizen, room, call);
            Some(Phase::Answered(room))
        }
        _ => None,
    };
    let Some(phase) = next else { return false };
    let request = world.request_mut(citizen);
    request.phase = phase;
    if !phase.is_under_way() {
        request.at = Instance::default();
    }
    true
}

/// The room in the prefetch, if by all that is known here it can be claimed: the delete is on its way. Whether our own
/// clock says that the lease still runs is left open, for only the queue's word counts. What is given back before the
/// delete goes out is as if it had never been taken.
fn take_prefetched(protocol: &Protocol, world: &mut World, citizen: Citizen) -> Option<Phase> {
    let at = world.request(citizen).at;
    let Prefetch::Ready(ready) = world.prefetch(at) else { return None };
    if !ready.fresh {
        return None;
    }
    *world.prefetch_mut(at) = Prefetch::Empty;
    world.queue.pass(ready.ticket, Holder::Prefetch(at), Holder::Request(citizen));
    Some(if protocol.does(Wrong::TagBeforeClaim) {
        Phase::Tagging(ready)
    } else {
        Phase::Claiming(ready, Attempt::First)
    })
}

fn claim(
    protocol: &Protocol,
    world: &mut World,
    citizen: Citizen,
    ready: ReadyRoom,
    attempt: Attempt,
    call: Call,
) -> Phase {
    let receipt = Holder::Request(citizen);
    let answer = match call {
        Call::Answered | Call::AnswerLost => Some(world.queue.delete(ready.ticket, receipt)),
        Call::Late => {
            world.queue.pass(ready.ticket, receipt, Holder::LateClaim);
            None
        }
        Call::Lost => None,
    };
    let ours = match answer {
        Some(Delete::Done) if call == Call::Answered => true,
        Some(Delete::NotFound) if call == Call::Answered && attempt == Attempt::Second => {
            protocol.does(Wrong::NotFoundIsAWin)
        }
        _ => false,
    };
    if ours || protocol.does(Wrong::LeaseBelieved) {
        if world.life(ready.ticket.room).claimed {
            world.breaks(Promise::NoReturn);
        }
        world.life_mut(ready.ticket.room).claimed = true;
        if protocol.does(Wrong::TagBeforeClaim) {
            return Phase::Tagged { room: ready.ticket.room, id: ready.id, kept: true };
        }
        return Phase::Tagging(ready);
    }
    if call != Call::Answered && attempt == Attempt::First {
        return Phase::Claiming(ready, Attempt::Second);
    }
    // Somebody else's, or nobody can tell: hands off.
    world.queue.pass(ready.ticket, receipt, Holder::Nobody);
    Phase::Waiting
}

/// Only what is there under this name still, and belongs to nobody else, is worth a PATCH.
fn look_again(world: &World, citizen: Citizen, ready: ReadyRoom) -> Option<Phase> {
    if ready.fresh {
        return None;
    }
    let vmr = world.node.room(ready.id).filter(|vmr| vmr.room == Some(ready.ticket.room));
    let usable = vmr.is_some_and(|vmr| vmr.tag.is_none_or(|tag| tag == citizen));
    Some(if usable { Phase::Tagging(ReadyRoom { fresh: true, ..ready }) } else { Phase::Waiting })
}

fn tag(protocol: &Protocol, world: &mut World, citizen: Citizen, ready: ReadyRoom, call: Call) -> Option<Phase> {
    if !ready.fresh && !protocol.does(Wrong::TagWithoutLook) {
        return None;
    }
    match call {
        Call::Answered | Call::AnswerLost => {
            // 404: the room is gone; another one may do.
            if world.node.room(ready.id).is_none() {
                return (call == Call::Answered).then_some(Phase::Waiting);
            }
            world.write_tag(citizen, ready.id, !protocol.does(Wrong::TagWithoutMark));
        }
        Call::Late => world.request_mut(citizen).late_tag = Some(ready.id),
        Call::Lost => {}
    }
    if call == Call::Answered {
        return Some(if protocol.does(Wrong::TagBeforeClaim) {
            Phase::Claiming(ready, Attempt::First)
        } else {
            Phase::Tagged { room: ready.ticket.room, id: ready.id, kept: true }
        });
    }
    // A call without an answer is trouble at the node, and the node may be another one after it.
    Some(Phase::Tagging(ReadyRoom { fresh: false, ..ready }))
}

fn give_up_tagging(protocol: &Protocol, world: &mut World, ready: ReadyRoom) -> Phase {
    if protocol.does(Wrong::TagBeforeClaim) {
        return Phase::Waiting;
    }
    if protocol.does(Wrong::RoomGivenBack) {
        world.queue.put(ready.ticket.room);
        return Phase::Failed;
    }
    destroy(protocol, ready.ticket.room, ready.id)
}

fn destroy(protocol: &Protocol, room: Room, id: Id) -> Phase {
    Phase::Destroying { room, id, looked: protocol.does(Wrong::DestroyWithoutLook) }
}

fn answer(world: &mut World, citizen: Citizen, room: Room, kept: bool) -> Phase {
    if world.requests.iter().any(|request| request.phase == Phase::Answered(room)) {
        world.breaks(Promise::Exclusive);
    }
    let tag = world.node.find(room).and_then(|(_, vmr)| vmr.tag);
    // A node that came back from a backup after it had acknowledged the tag has lost it, like all that was newer.
    if kept && tag != Some(citizen) {
        world.breaks(Promise::RightCitizen);
    }
    Phase::Answered(room)
}

fn make_direct(protocol: &Protocol, world: &mut World, citizen: Citizen, call: Call) -> Option<Phase> {
    if !protocol.scope.direct {
        return None;
    }
    let room = world.next_room(&protocol.scope)?;
    let life = world.life_mut(room);
    life.made = true;
    // It has no `ready-until` and no message; only the time of its hand-out counts.
    life.age = Age::Sweepable;
    if call != Call::Lost {
        world.node.make(Some(room), Some(citizen));
        world.carries(room, citizen);
    }
    Some(Phase::MakingDirect(room))
}

fn end(protocol: &Protocol, world: &mut World, citizen: Citizen, room: Room, call: Call) {
    let End::Deleting { at, id, unanswered } = world.request(citizen).end else { return };
    let looks = unanswered && !protocol.does(Wrong::DeleteRepeated);
    let id = if looks { world.node.find(room).map(|(id, _)| id) } else { Some(id) };
    world.request_mut(citizen).end = match id {
        Some(id) => {
            if call != Call::Lost {
                world.delete(id, room, true);
            }
            if call == Call::Answered || unanswered { End::Done } else { End::Deleting { at, id, unanswered: true } }
        }
        None => End::Done,
    };
}

/// Whether a call is about to go out whose id was read a moment ago.
pub(crate) fn is_between_look_and_delete(protocol: &Protocol, world: &World) -> bool {
    world.requests.iter().any(|request| {
        matches!(request.phase, Phase::Destroying { looked: true, .. } if !protocol.does(Wrong::DestroyWithoutLook))
            || matches!(request.end, End::Deleting { unanswered: false, .. })
    })
}

/// The node has come back from a backup: calls on their way are lost with their connection, and whoever had read
/// something counts a trouble, if it was noticed.
pub(crate) fn node_came_back(protocol: &Protocol, world: &mut World) {
    let noticed = protocol.scope.restore != Restore::Unnoticed;
    for request in &mut world.requests {
        request.late_tag = None;
        match &mut request.phase {
            Phase::Claiming(ready, _) | Phase::Tagging(ready) => ready.fresh &= !noticed,
            Phase::Tagged { kept, .. } => *kept = false,
            _ => {}
        }
    }
}

/// The instance is gone, and with it what it knew. Its calls may still arrive.
pub(crate) fn crash(world: &mut World, instance: Instance) -> bool {
    let mut lost = false;
    for (citizen, request) in (0..).zip(&mut world.requests) {
        if request.at != instance || !request.phase.is_under_way() {
            continue;
        }
        if let Phase::Claiming(ready, _) = request.phase {
            world.queue.pass(ready.ticket, Holder::Request(citizen), Holder::LateClaim);
        }
        request.phase = Phase::Failed;
        request.at = Instance::default();
        lost = true;
    }
    for request in &mut world.requests {
        if matches!(request.end, End::Deleting { at, .. } if at == instance) {
            request.end = End::NotAsked;
            lost = true;
        }
    }
    lost
}
