//! Maintenance: provision and sweep.

use crate::promises::Promise;
use crate::protocol::{Protocol, Source, Wrong};
use crate::step::{Call, Step, UpkeepStep};
use crate::world::{Age, Id, Instance, Order, Presence, Provision, Room, RunningCall, Sweep, World};

use UpkeepStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let mut add = |offered: &[S]| steps.extend(offered.iter().copied().map(Step::Upkeep));
    let mut provisioning = false;
    for room in 0..protocol.scope.rooms {
        match world.life(room).provision {
            Provision::Idle => continue,
            Provision::LookingUp(_) => add(&[S::FindsPosted(room)]),
            Provision::Putting(_) => {
                add(&[Call::Answered, Call::AnswerLost, Call::Lost].map(|call| S::Puts(room, call)));
            }
        }
        provisioning = true;
    }
    // One room is provisioned at a time: concurrent ones share only the request budget, which is not modelled.
    if protocol.scope.source != Source::Direct && !provisioning && world.next_room(&protocol.scope).is_some() {
        for instance in 0..protocol.scope.instances_that_differ() {
            add(&[Call::Answered, Call::AnswerLost, Call::Lost].map(|call| S::Posts(instance, call)));
        }
    }
    match world.sweep {
        Sweep::Idle => {
            for id in world.node.ids().filter(|id| sweepable(world, *id).is_some()) {
                for instance in 0..protocol.scope.instances_that_differ() {
                    add(&[S::SweepFindsEmpty(instance, id)]);
                }
            }
        }
        Sweep::SeenEmpty { .. } => add(&[S::SweepFindsEmptyAgain]),
        Sweep::Deleting { checked: false, .. } => add(&[S::SweepChecks]),
        Sweep::Deleting { checked: true, .. } => add(&[Call::Answered, Call::Lost].map(S::SweepDeletes)),
        Sweep::Disconnecting { .. } => add(&[S::SweepDisconnects]),
    }
    for room in 0..protocol.scope.rooms {
        if world.life(room).order == Order::Put {
            add(&[S::FinishesOrder(room)]);
        }
        if protocol.does(Wrong::CallWithoutRoomEnded) && world.node.find(room).is_none() {
            add(&[S::SweepEndsCallWithoutRoom(room)]);
        }
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, step: UpkeepStep) -> bool {
    match step {
        S::Posts(instance, call) => post(protocol, world, instance, call),
        S::FindsPosted(room) => {
            let Provision::LookingUp(instance) = world.life(room).provision else { return false };
            let found = world.node.find(room).is_some();
            world.life_mut(room).provision = if found { Provision::Putting(instance) } else { Provision::Idle };
            true
        }
        S::Puts(room, call) => put(protocol, world, room, call),
        S::SweepFindsEmpty(at, id) => sweep_finds_empty(protocol, world, at, id),
        S::SweepFindsEmptyAgain => sweep_finds_empty_again(protocol, world),
        S::SweepChecks => sweep_checks(protocol, world),
        S::SweepDeletes(call) => {
            let Sweep::Deleting { at, id, room, tag, checked: true } = world.sweep else { return false };
            if call == Call::Answered {
                if world.node.room(id).is_some_and(|vmr| vmr.tag != tag) {
                    world.breaks(Promise::Narrow);
                }
                world.delete(id, room, false);
            }
            world.sweep = if call == Call::Answered { Sweep::Disconnecting { at, room } } else { Sweep::Idle };
            true
        }
        S::SweepDisconnects => {
            let Sweep::Disconnecting { room, .. } = world.sweep else { return false };
            if !world.life(room).presence.is_seen() || protocol.does(Wrong::DisconnectWithoutLook) {
                world.disconnect(room, false);
            }
            world.sweep = Sweep::Idle;
            true
        }
        S::SweepEndsCallWithoutRoom(room) => {
            let runs = world.life(room).presence.is_seen();
            let asked_for = world.life(room).call == RunningCall::ToEnd;
            world.disconnect(room, asked_for);
            runs
        }
        S::FinishesOrder(room) => {
            if let Some((id, _)) = world.node.find(room) {
                world.delete(id, room, true);
            } else {
                world.disconnect(room, true);
                world.life_mut(room).order = Order::Done;
            }
            true
        }
    }
}

fn post(protocol: &Protocol, world: &mut World, instance: Instance, call: Call) -> bool {
    let Some(room) = world.next_room(&protocol.scope) else { return false };
    if call != Call::Lost {
        world.node.make(Some(room), None);
    }
    let life = world.life_mut(room);
    life.made = true;
    life.provision = if call == Call::Answered { Provision::Putting(instance) } else { Provision::LookingUp(instance) };
    true
}

/// Puts the message once, whatever the answer.
fn put(protocol: &Protocol, world: &mut World, room: Room, call: Call) -> bool {
    let Provision::Putting(instance) = world.life(room).provision else { return false };
    // A message put after `ready-until` would have no time to live.
    let too_late = world.life(room).age != Age::Young;
    if call != Call::Lost && !too_late {
        world.queue.put(room);
    }
    let again = protocol.does(Wrong::PutRepeated) && call != Call::Answered;
    world.life_mut(room).provision = if again { Provision::Putting(instance) } else { Provision::Idle };
    true
}

/// The room with this id, if this service made it, its time is over by its marks, and it shows no participant.
fn sweepable(world: &World, id: Id) -> Option<Room> {
    let vmr = world.node.room(id)?;
    let room = vmr.room?;
    let life = world.life(room);
    let over = match (vmr.marked, vmr.tag) {
        (true, _) => life.over,
        (false, None) => life.age == Age::Sweepable,
        // Another client has changed the marks: the room's age is unknown.
        (false, Some(_)) => false,
    };
    (over && !life.presence.is_seen()).then_some(room)
}

fn sweep_finds_empty(protocol: &Protocol, world: &mut World, at: Instance, id: Id) -> bool {
    let Some(room) = sweepable(world, id).filter(|_| world.sweep == Sweep::Idle) else { return false };
    world.sweep = Sweep::SeenEmpty { at, id, room };
    if protocol.does(Wrong::OnePresenceSnapshot) { sweep_finds_empty_again(protocol, world) } else { true }
}

fn sweep_finds_empty_again(protocol: &Protocol, world: &mut World) -> bool {
    let Sweep::SeenEmpty { at, id, room } = world.sweep else { return false };
    // A citizen who changes networks is back within the 30 seconds between the snapshots.
    if world.life(room).presence == Presence::ChangingNetworks && !protocol.does(Wrong::OnePresenceSnapshot) {
        return false;
    }
    world.sweep = match world.node.room(id).filter(|_| sweepable(world, id) == Some(room)) {
        Some(vmr) => Sweep::Deleting { at, id, room, tag: vmr.tag, checked: protocol.does(Wrong::SweepWithoutCheck) },
        None => Sweep::Idle,
    };
    true
}

fn sweep_checks(protocol: &Protocol, world: &mut World) -> bool {
    let Sweep::Deleting { at, id, room, tag, checked: false } = world.sweep else { return false };
    let unchanged = world.node.room(id).is_some_and(|vmr| vmr.room == Some(room) && vmr.tag == tag);
    let empty = !world.life(room).presence.is_seen() || protocol.does(Wrong::SweepWithoutLook);
    world.sweep = if unchanged && empty { Sweep::Deleting { at, id, room, tag, checked: true } } else { Sweep::Idle };
    true
}

/// Whether the sweep is about to send the delete for an id that it has just checked.
pub(crate) fn is_between_check_and_delete(protocol: &Protocol, world: &World) -> bool {
    matches!(world.sweep, Sweep::Deleting { checked: true, .. }) && !protocol.does(Wrong::SweepWithoutCheck)
}

pub(crate) fn crash(world: &mut World, instance: Instance) -> bool {
    let mut lost = world.sweep.instance() == Some(instance);
    if lost {
        world.sweep = Sweep::Idle;
    }
    for life in &mut world.lives {
        if life.provision == Provision::LookingUp(instance) || life.provision == Provision::Putting(instance) {
            life.provision = Provision::Idle;
            lost = true;
        }
    }
    lost
}
