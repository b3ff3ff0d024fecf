//! One create request: take a leased room, claim it, tag it, answer. Then the caller's delete of the answered room.

use crate::promises::Promise;
use crate::protocol::{Protocol, Restore, Wrong};
use crate::queue::{Delete, Holder};
use crate::step::{Call, RequestStep, Step};
use crate::world::{Age, Attempt, Citizen, End, Id, Instance, Phase, Prefetch, ReadyRoom, Room, World};

use RequestStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for citizen in 0..protocol.scope.citizens {
        let mut add = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Request(citizen, *step)));
        let request = world.request(citizen);
        match request.phase {
            Phase::NotArrived => {
                // Symmetry reduction: citizens arrive in order, and the first arrives at the first instance.
                let arrives = citizen == 0 || world.request(citizen - 1).phase != Phase::NotArrived;
                let instances = if citizen == 0 { 1 } else { protocol.scope.instances };
                for instance in (0..instances).filter(|_| arrives) {
                    add(&[S::Arrives(instance)]);
                }
            }
            Phase::Waiting => {
                add(&[S::Takes, S::MakesDirect(Call::Answered), S::MakesDirect(Call::Lost), S::Fails]);
            }
            Phase::Claiming(_, attempt) => {
                add(&[Call::Answered, Call::AnswerLost, Call::Lost].map(S::Claims));
                if attempt == Attempt::Second {
                    add(&[S::Claims(Call::Late)]);
                }
            }
            Phase::Tagging(_) => {
                add(&[Call::Answered, Call::AnswerLost, Call::Lost, Call::Late].map(S::Tags));
                add(&[S::ChecksAgain, S::Fails]);
            }
            Phase::Tagged { .. } => add(&[S::Answers, S::CallerIsGone]),
            Phase::MakingDirect(_) => add(&[S::FindsDirect]),
            Phase::Destroying { checked, .. } => {
                let next = if checked { S::DestroyDeletes(Call::Answered) } else { S::DestroyChecks };
                // A lost delete leaves the room to the sweep.
                add(&[next, S::DestroyDeletes(Call::Lost)]);
            }
            Phase::Answered(_) => match request.end {
                End::NotAsked if protocol.scope.ends => {
                    for instance in 0..protocol.scope.instances_that_differ() {
                        add(&[S::IsEnded(instance)]);
                    }
                }
                End::Deleting { .. } => add(&[Call::Answered, Call::AnswerLost, Call::Lost].map(S::EndDeletes)),
                End::NotAsked | End::Done => {}
            },
            Phase::Failed => {}
        }
        if request.late_tag.is_some() {
            add(&[S::LateTag]);
        }
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(crate) fn take(protocol: &Protocol, world: &mut World, citizen: Citizen, step: RequestStep) -> bool {
    let next = match (world.request(citizen).phase, step) {
        (Phase::NotArrived, S::Arrives(instance)) => {
            world.request_mut(citizen).at = instance;
            Some(Phase::Waiting)
        }
        (Phase::Waiting, S::Takes) => take_prefetched(protocol, world, citizen),
        (Phase::Waiting, S::MakesDirect(call)) => make_direct(protocol, world, citizen, call),
        (Phase::Waiting, S::Fails) => Some(Phase::Failed),
        (Phase::Claiming(ready, attempt), S::Claims(call)) => {
            Some(claim(protocol, world, citizen, ready, attempt, call))
        }
        (Phase::Tagging(ready), S::ChecksAgain) => check_again(world, citizen, ready),
        (Phase::Tagging(ready), S::Tags(call)) => tag(protocol, world, citizen, ready, call),
        (Phase::Tagging(ready), S::Fails) => Some(give_up_tagging(protocol, world, ready)),
        (Phase::Tagged { room, kept, .. }, S::Answers) => Some(answer(world, citizen, room, kept)),
        (Phase::Tagged { room, id, .. }, S::CallerIsGone) => Some(destroy(protocol, room, id)),
        (Phase::MakingDirect(room), S::FindsDirect) => Some(match world.node.find(room) {
            Some((id, _)) => Phase::Tagged { room, id, kept: true },
            None => Phase::Failed,
        }),
        (Phase::Destroying { room, id, .. }, S::DestroyChecks) => {
            let still = world.node.has(id, room);
            Some(if still { Phase::Destroying { room, id, checked: true } } else { Phase::Failed })
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
            // Without such a room the answer is 404, and the caller may ask again.
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

/// Takes the room from the prefetch if its check is fresh, and starts the claim. The instance's own view of the lease
/// is not modelled, because only the queue's answer decides. A room given back before its delete is sent equals a room
/// never taken.
fn take_prefetched(protocol: &Protocol, world: &mut World, citizen: Citizen) -> Option<Phase> {
    let at = world.request(citizen).at;
    let Prefetch::Ready(ready) = world.prefetch(at) else { return None };
    if !ready.fresh {
        return None;
    }
    *world.prefetch_mut(at) = Prefetch::Empty;
    world.queue.pass(ready.message, Holder::Prefetch(at), Holder::Request(citizen));
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
        Call::Answered | Call::AnswerLost => Some(world.queue.delete(ready.message, receipt)),
        Call::Late => {
            world.queue.pass(ready.message, receipt, Holder::LateClaim);
            None
        }
        Call::Lost => None,
    };
    let claimed = match answer {
        Some(Delete::Done) if call == Call::Answered => true,
        Some(Delete::NotFound) if call == Call::Answered && attempt == Attempt::Second => {
            protocol.does(Wrong::NotFoundTakenAsClaimed)
        }
        _ => false,
    };
    if claimed || protocol.does(Wrong::LeaseTakenAsClaim) {
        if world.life(ready.message.room).claimed {
            world.breaks(Promise::NoReturn);
        }
        world.life_mut(ready.message.room).claimed = true;
        if protocol.does(Wrong::TagBeforeClaim) {
            return Phase::Tagged { room: ready.message.room, id: ready.id, kept: true };
        }
        return Phase::Tagging(ready);
    }
    if call != Call::Answered && attempt == Attempt::First {
        return Phase::Claiming(ready, Attempt::Second);
    }
    // Claimed by another instance, or unknown: the room must not be used.
    world.queue.pass(ready.message, receipt, Holder::Nobody);
    Phase::Waiting
}

/// Continues to the PATCH only if the id still belongs to this room and the room has no other citizen's tag.
fn check_again(world: &World, citizen: Citizen, ready: ReadyRoom) -> Option<Phase> {
    if ready.fresh {
        return None;
    }
    let vmr = world.node.room(ready.id).filter(|vmr| vmr.room == Some(ready.message.room));
    let usable = vmr.is_some_and(|vmr| vmr.tag.is_none_or(|tag| tag == citizen));
    Some(if usable { Phase::Tagging(ReadyRoom { fresh: true, ..ready }) } else { Phase::Waiting })
}

fn tag(protocol: &Protocol, world: &mut World, citizen: Citizen, ready: ReadyRoom, call: Call) -> Option<Phase> {
    if !ready.fresh && !protocol.does(Wrong::TagWithoutCheck) {
        return None;
    }
    match call {
        Call::Answered | Call::AnswerLost => {
            // 404: the room is gone; the request tries another one.
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
            Phase::Tagged { room: ready.message.room, id: ready.id, kept: true }
        });
    }
    // An unanswered call counts as a node failure: the node may have been restored, so the id must be checked again.
    Some(Phase::Tagging(ReadyRoom { fresh: false, ..ready }))
}

fn give_up_tagging(protocol: &Protocol, world: &mut World, ready: ReadyRoom) -> Phase {
    if protocol.does(Wrong::TagBeforeClaim) {
        return Phase::Waiting;
    }
    if protocol.does(Wrong::RoomGivenBack) {
        world.queue.put(ready.message.room);
        return Phase::Failed;
    }
    destroy(protocol, ready.message.room, ready.id)
}

fn destroy(protocol: &Protocol, room: Room, id: Id) -> Phase {
    Phase::Destroying { room, id, checked: protocol.does(Wrong::DestroyWithoutCheck) }
}

fn answer(world: &mut World, citizen: Citizen, room: Room, kept: bool) -> Phase {
    if world.requests.iter().any(|request| request.phase == Phase::Answered(room)) {
        world.breaks(Promise::Exclusive);
    }
    let tag = world.node.find(room).and_then(|(_, vmr)| vmr.tag);
    // A node restored after it acknowledged the tag has lost the tag with everything newer than the backup.
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
    // A direct room has no `ready-until` and no message; only its `handed-out` mark counts.
    life.age = Age::Sweepable;
    if call != Call::Lost {
        world.node.make(Some(room), Some(citizen));
        world.carries(room, citizen);
    }
    Some(Phase::MakingDirect(room))
}

fn end(protocol: &Protocol, world: &mut World, citizen: Citizen, room: Room, call: Call) {
    let End::Deleting { at, id, unanswered } = world.request(citizen).end else { return };
    let looks_up = unanswered && !protocol.does(Wrong::DeleteRepeated);
    let id = if looks_up { world.node.find(room).map(|(id, _)| id) } else { Some(id) };
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

/// Whether a delete is about to be sent for an id that has just been checked.
pub(crate) fn is_between_check_and_delete(protocol: &Protocol, world: &World) -> bool {
    world.requests.iter().any(|request| {
        matches!(request.phase, Phase::Destroying { checked: true, .. } if !protocol.does(Wrong::DestroyWithoutCheck))
            || matches!(request.end, End::Deleting { unanswered: false, .. })
    })
}

/// The node was restored from a backup: calls in flight are lost with their connections. If the restore is noticed, the
/// failure epoch advances and earlier checks are stale.
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

/// The instance loses its memory. Its calls in flight may still arrive.
pub(crate) fn crash(world: &mut World, instance: Instance) -> bool {
    let mut lost = false;
    for (citizen, request) in (0..).zip(&mut world.requests) {
        if request.at != instance || !request.phase.is_under_way() {
            continue;
        }
        if let Phase::Claiming(ready, _) = request.phase {
            world.queue.pass(ready.message, Holder::Request(citizen), Holder::LateClaim);
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
