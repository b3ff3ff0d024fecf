//! One create request: take a leased room, claim it, tag it, answer. Then the caller's delete of the answered room.

use crate::promises::Promise;
use crate::protocol::{Protocol, Restore, Source, Wrong};
use crate::queue::Holder;
use crate::request::{Claiming, End, Phase, ReadyRoom, TaggedRoom};
use crate::step::{Call, KeyStep, RequestStep, Step};
use crate::world::{Age, Create, Id, Instance, Order, Prefetch, Room, World};
use crate::{claim, key};

use RequestStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for create in 0..protocol.scope.creates {
        let mut add = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Request(create, *step)));
        let request = world.request(create);
        match request.phase {
            Phase::NotArrived => {
                // Symmetry reduction: requests arrive in order, and the first arrives at the first instance.
                let arrives = create == 0 || world.request(create - 1).phase != Phase::NotArrived;
                let instances = if create == 0 { 1 } else { protocol.scope.instances };
                for instance in (0..instances).filter(|_| arrives) {
                    add(&[S::Arrives(instance)]);
                }
            }
            Phase::Waiting => {
                add(&[S::Takes, S::MakesDirect(Call::Answered), S::MakesDirect(Call::Lost), S::Fails]);
            }
            Phase::Claiming(claiming) => add(&claim::offer(claiming)),
            Phase::Tagging(_) => {
                add(&[Call::Answered, Call::AnswerLost, Call::Lost, Call::Late].map(S::Tags));
                add(&[S::ChecksAgain, S::Fails]);
            }
            Phase::Tagged(_) if protocol.notes_done() => add(&key::offer(request.phase)),
            Phase::Tagged(_) | Phase::Noted(_) => add(&[S::Answers, S::CallerIsGone]),
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
                End::Noting { .. } => add(&[S::EndNotes]),
                End::Deleting { .. } => add(&[Call::Answered, Call::AnswerLost, Call::Lost].map(S::EndDeletes)),
                End::Disconnecting { .. } => add(&[S::EndDisconnects]),
                End::NotAsked | End::Done => {}
            },
            Phase::Keying(..) | Phase::Replaying(_) | Phase::Noting(..) | Phase::Removing => {
                add(&key::offer(request.phase));
            }
            Phase::Failed => {}
        }
        if request.late_tag.is_some() {
            add(&[S::LateTag]);
        }
        if request.late_key.is_some() {
            add(&[S::Key(KeyStep::LateWrite)]);
        }
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(crate) fn take(protocol: &Protocol, world: &mut World, create: Create, step: RequestStep) -> bool {
    let next = match (world.request(create).phase, step) {
        (Phase::NotArrived, S::Arrives(instance)) => {
            world.request_mut(create).at = instance;
            Some(key::start(protocol))
        }
        (Phase::Waiting, S::Takes) => take_prefetched(protocol, world, create),
        (Phase::Waiting, S::MakesDirect(call)) => make_direct(protocol, world, create, call),
        (Phase::Waiting, S::Fails) => Some(key::fail(protocol)),
        (Phase::Claiming(claiming), S::Claim(step)) => claim::take(protocol, world, create, claiming, step),
        (Phase::Tagging(ready), S::ChecksAgain) => check_again(protocol, world, create, ready),
        (Phase::Tagging(ready), S::Tags(call)) => tag(protocol, world, create, ready, call),
        (Phase::Tagging(ready), S::Fails) => Some(give_up_tagging(protocol, world, ready)),
        (Phase::Tagged(tagged) | Phase::Noted(tagged), S::Answers) => {
            Some(answer(protocol, world, create, tagged.room, tagged.kept))
        }
        (Phase::Tagged(tagged), S::CallerIsGone) => Some(destroy(protocol, tagged.room, tagged.id)),
        // The key finds the room again.
        (Phase::Noted(_), S::CallerIsGone) => Some(Phase::Failed),
        (Phase::MakingDirect(room), S::FindsDirect) => Some(match world.node.find(room) {
            Some((id, _)) => Phase::Tagged(TaggedRoom { room, id, kept: true }),
            None => key::fail(protocol),
        }),
        (Phase::Destroying { room, id, .. }, S::DestroyChecks) => {
            let still = world.node.has(id, room);
            Some(if still { Phase::Destroying { room, id, checked: true } } else { Phase::Failed })
        }
        (Phase::Destroying { room, id, .. }, S::DestroyDeletes(call)) => {
            if call == Call::Answered {
                if world.is_answered(room) {
                    world.breaks(Promise::NoReturn);
                }
                world.delete(id, room, false);
            }
            Some(Phase::Failed)
        }
        (phase, S::LateTag) => {
            if let Some(id) = world.request_mut(create).late_tag.take() {
                world.write_tag(protocol.scope.citizen(create), id, !protocol.does(Wrong::TagWithoutMark));
            }
            Some(phase)
        }
        (Phase::Answered(room), S::IsEnded(at)) => {
            // Without such a room the answer is 404, and the caller may ask again.
            world.node.find(room).map(|(id, _)| {
                world.request_mut(create).end = if protocol.does(Wrong::DeleteWithoutMessage) {
                    End::Deleting { at, id, unanswered: false }
                } else {
                    End::Noting { at, id }
                };
                Phase::Answered(room)
            })
        }
        (Phase::Answered(room), S::EndNotes) => {
            let End::Noting { at, id } = world.request(create).end else { return false };
            world.life_mut(room).order = Order::Put;
            world.request_mut(create).end = End::Deleting { at, id, unanswered: false };
            Some(Phase::Answered(room))
        }
        (Phase::Answered(room), S::EndDisconnects) => {
            world.disconnect(room, true);
            world.request_mut(create).end = End::Done;
            Some(Phase::Answered(room))
        }
        (Phase::Answered(room), S::EndDeletes(call)) => {
            end(protocol, world, create, room, call);
            Some(Phase::Answered(room))
        }
        (_, S::Key(step)) => key::take(protocol, world, create, step),
        _ => None,
    };
    let Some(phase) = next else { return false };
    let request = world.request_mut(create);
    request.phase = phase;
    if !phase.is_under_way() {
        request.at = Instance::default();
    }
    true
}

/// Takes the room from the prefetch if its check is fresh, and starts the claim. The instance's own view of the lease
/// is not modelled, because only the queue's answer decides. A room given back before its delete is sent equals a room
/// never taken.
fn take_prefetched(protocol: &Protocol, world: &mut World, create: Create) -> Option<Phase> {
    let at = world.request(create).at;
    let Prefetch::Ready(ready) = world.prefetch(at) else { return None };
    if !ready.fresh {
        return None;
    }
    *world.prefetch_mut(at) = Prefetch::Empty;
    world.queue.pass(ready.message, Holder::Prefetch(at), Holder::Request(create));
    Some(if protocol.does(Wrong::TagBeforeClaim) {
        Phase::Tagging(ready)
    } else {
        claim::start(protocol, world, create, ready)
    })
}

/// Continues to the PATCH only if the id still belongs to this room and the room has no other citizen's tag.
fn check_again(protocol: &Protocol, world: &World, create: Create, ready: ReadyRoom) -> Option<Phase> {
    if ready.fresh {
        return None;
    }
    let vmr = world.node.room(ready.id).filter(|vmr| vmr.room == Some(ready.message.room));
    let usable = vmr.is_some_and(|vmr| vmr.tag.is_none_or(|tag| tag == protocol.scope.citizen(create)));
    Some(if usable { Phase::Tagging(ReadyRoom { fresh: true, ..ready }) } else { Phase::Waiting })
}

fn tag(protocol: &Protocol, world: &mut World, create: Create, ready: ReadyRoom, call: Call) -> Option<Phase> {
    if !ready.fresh && !protocol.does(Wrong::TagWithoutCheck) {
        return None;
    }
    match call {
        Call::Answered | Call::AnswerLost => {
            // 404: the room is gone; the request tries another one.
            if world.node.room(ready.id).is_none() {
                return (call == Call::Answered).then_some(Phase::Waiting);
            }
            world.write_tag(protocol.scope.citizen(create), ready.id, !protocol.does(Wrong::TagWithoutMark));
        }
        Call::Late => world.request_mut(create).late_tag = Some(ready.id),
        Call::Lost => {}
    }
    if call == Call::Answered {
        let tagged = TaggedRoom { room: ready.message.room, id: ready.id, kept: true };
        return Some(claim::after_tag(protocol, ready).unwrap_or(Phase::Tagged(tagged)));
    }
    // An unanswered call counts as a node failure: the node may have been restored, so the id must be checked again.
    Some(Phase::Tagging(ReadyRoom { fresh: false, ..ready }))
}

fn give_up_tagging(protocol: &Protocol, world: &mut World, ready: ReadyRoom) -> Phase {
    if protocol.does(Wrong::TagBeforeClaim) || protocol.does(Wrong::TagBeforeDelete) {
        return Phase::Waiting;
    }
    if protocol.does(Wrong::RoomGivenBack) {
        world.queue.put(ready.message.room);
        return Phase::Failed;
    }
    destroy(protocol, ready.message.room, ready.id)
}

pub(crate) fn destroy(protocol: &Protocol, room: Room, id: Id) -> Phase {
    Phase::Destroying { room, id, checked: protocol.does(Wrong::DestroyWithoutCheck) }
}

pub(crate) fn answer(protocol: &Protocol, world: &mut World, create: Create, room: Room, kept: bool) -> Phase {
    for (other, request) in (0..).zip(world.requests) {
        let Phase::Answered(answered) = request.phase else { continue };
        if answered == room && !protocol.scope.is_repetition(other, create) {
            world.breaks(Promise::Exclusive);
        }
        if answered != room && protocol.scope.is_repetition(other, create) {
            world.breaks(Promise::Once);
        }
    }
    let tag = world.node.find(room).and_then(|(_, vmr)| vmr.tag);
    // A node restored after it acknowledged the tag has lost the tag with everything newer than the backup. A repetition
    // may have been answered before, and IDIM may have ended the room.
    if kept && !world.is_ended(room) && tag != Some(protocol.scope.citizen(create)) {
        world.breaks(Promise::RightCitizen);
    }
    Phase::Answered(room)
}

fn make_direct(protocol: &Protocol, world: &mut World, create: Create, call: Call) -> Option<Phase> {
    if protocol.scope.source == Source::Pool {
        return None;
    }
    let room = world.next_room(&protocol.scope)?;
    let life = world.life_mut(room);
    life.made = true;
    // A direct room has no `ready-until` and no message; only its `handed-out` mark counts.
    life.age = Age::Sweepable;
    if call != Call::Lost {
        let citizen = protocol.scope.citizen(create);
        world.node.make(Some(room), Some(citizen));
        world.carries(room, citizen);
    }
    Some(Phase::MakingDirect(room))
}

fn end(protocol: &Protocol, world: &mut World, create: Create, room: Room, call: Call) {
    let End::Deleting { at, id, unanswered } = world.request(create).end else { return };
    let looks_up = unanswered && !protocol.does(Wrong::DeleteRepeated);
    let id = if looks_up { world.node.find(room).map(|(id, _)| id) } else { Some(id) };
    world.request_mut(create).end = match id {
        Some(id) => {
            if call != Call::Lost {
                world.delete(id, room, true);
            }
            if call == Call::Answered || unanswered {
                End::Disconnecting { at }
            } else {
                End::Deleting { at, id, unanswered: true }
            }
        }
        None => End::Disconnecting { at },
    };
}

/// Whether a delete is about to be sent for an id that has just been checked.
pub(crate) fn is_between_check_and_delete(protocol: &Protocol, world: &World) -> bool {
    world.requests.iter().any(|request| {
        matches!(request.phase, Phase::Destroying { checked: true, .. } if !protocol.does(Wrong::DestroyWithoutCheck))
            || matches!(request.end, End::Noting { .. } | End::Deleting { unanswered: false, .. })
    })
}

/// The node was restored from a backup: calls in flight are lost with their connections. If the restore is noticed, the
/// failure epoch advances and earlier checks are stale.
pub(crate) fn node_came_back(protocol: &Protocol, world: &mut World) {
    let noticed = protocol.scope.restore != Restore::Unnoticed;
    for request in &mut world.requests {
        request.late_tag = None;
        match &mut request.phase {
            Phase::Claiming(Claiming { ready, .. }) | Phase::Tagging(ready) => ready.fresh &= !noticed,
            Phase::Tagged(tagged) | Phase::Noting(tagged, ..) | Phase::Noted(tagged) => tagged.kept = false,
            _ => {}
        }
    }
}

/// The instance loses its memory. Its calls in flight may still arrive.
pub(crate) fn crash(world: &mut World, instance: Instance) -> bool {
    let mut lost = false;
    for (create, request) in (0..).zip(&mut world.requests) {
        if request.at != instance || !request.phase.is_under_way() {
            continue;
        }
        if let Phase::Claiming(Claiming { ready, .. }) = request.phase {
            world.queue.pass(ready.message, Holder::Request(create), Holder::LateDelete);
            world.records.close_claim(create);
        }
        request.phase = Phase::Failed;
        request.at = Instance::default();
        lost = true;
    }
    for request in &mut world.requests {
        if request.end.instance() == Some(instance) {
            request.end = End::NotAsked;
            lost = true;
        }
    }
    lost
}
