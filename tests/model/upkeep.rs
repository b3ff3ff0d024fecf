//! What keeps the pool full and the node clean: provision and sweep.

use crate::promises::Promise;
use crate::protocol::{Protocol, Wrong};
use crate::step::{Call, Step, UpkeepStep};
use crate::world::{Age, Id, Instance, Presence, Provision, Room, Sweep, World};

use UpkeepStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let mut can = |offered: &[S]| steps.extend(offered.iter().copied().map(Step::Upkeep));
    let mut provisioning = false;
    for room in 0..protocol.scope.rooms {
        match world.life(room).provision {
            Provision::Idle => continue,
            Provision::LookingUp(_) => can(&[S::FindsPosted(room)]),
            Provision::Putting(_) => {
                can(&[Call::Answered, Call::AnswerLost, Call::Lost].map(|call| S::Puts(room, call)));
            }
        }
        provisioning = true;
    }
    // Two that provision at a time have nothing in common but the budget.
    if !provisioning && world.next_room(&protocol.scope).is_some() {
        for instance in 0..protocol.scope.instances_that_differ() {
            can(&[Call::Answered, Call::AnswerLost, Call::Lost].map(|call| S::Posts(instance, call)));
        }
    }
    match world.sweep {
        Sweep::Idle => {
            for id in world.node.ids().filter(|id| sweepable(world, *id).is_some()) {
                for instance in 0..protocol.scope.instances_that_differ() {
                    can(&[S::SweepLooks(instance, id)]);
                }
            }
        }
        Sweep::SeenEmpty { .. } => can(&[S::SweepLooksAgain]),
        Sweep::Doomed { looked: false, .. } => can(&[S::SweepReads]),
        Sweep::Doomed { looked: true, .. } => can(&[Call::Answered, Call::Lost].map(S::SweepDeletes)),
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
        S::SweepLooks(at, id) => sweep_looks(protocol, world, at, id),
        S::SweepLooksAgain => sweep_looks_again(protocol, world),
        S::SweepReads => sweep_reads(world),
        S::SweepDeletes(call) => {
            let Sweep::Doomed { id, room, tag, looked: true, .. } = world.sweep else { return false };
            if call == Call::Answered {
                if world.node.room(id).is_some_and(|vmr| vmr.tag != tag) {
                    world.breaks(Promise::Narrow);
                }
                world.delete(id, room, false);
            }
            world.sweep = Sweep::Idle;
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

/// Once, whatever comes back.
fn put(protocol: &Protocol, world: &mut World, room: Room, call: Call) -> bool {
    let Provision::Putting(instance) = world.life(room).provision else { return false };
    // A message would have no time to live.
    let too_late = world.life(room).age != Age::Young;
    if call != Call::Lost && !too_late {
        world.queue.put(room);
    }
    let again = protocol.does(Wrong::PutRepeated) && call != Call::Answered;
    world.life_mut(room).provision = if again { Provision::Putting(instance) } else { Provision::Idle };
    true
}

/// The room of ours with this id whose time is over by its marks, and in which nobody is to be seen.
fn sweepable(world: &World, id: Id) -> Option<Room> {
    let vmr = world.node.room(id)?;
    let room = vmr.room?;
    let life = world.life(room);
    let over = match (vmr.marked, vmr.tag) {
        (true, _) => life.over,
        (false, None) => life.age == Age::Sweepable,
        // Somebody else has changed its marks: its age cannot be told.
        (false, Some(_)) => false,
    };
    (over && !life.presence.is_seen()).then_some(room)
}

fn sweep_looks(protocol: &Protocol, world: &mut World, at: Instance, id: Id) -> bool {
    let Some(room) = sweepable(world, id).filter(|_| world.sweep == Sweep::Idle) else { return false };
    world.sweep = Sweep::SeenEmpty { at, id, room };
    if protocol.does(Wrong::OneLookAtPresence) { sweep_looks_again(protocol, world) } else { true }
}

fn sweep_looks_again(protocol: &Protocol, world: &mut World) -> bool {
    let Sweep::SeenEmpty { at, id, room } = world.sweep else { return false };
    // In the 30 seconds between the looks whoever changed networks is back.
    if world.life(room).presence == Presence::ChangingNetworks && !protocol.does(Wrong::OneLookAtPresence) {
        return false;
    }
    world.sweep = match world.node.room(id).filter(|_| sweepable(world, id) == Some(room)) {
        Some(vmr) => Sweep::Doomed { at, id, room, tag: vmr.tag, looked: protocol.does(Wrong::SweepWithoutLook) },
        None => Sweep::Idle,
    };
    true
}

fn sweep_reads(world: &mut World) -> bool {
    let Sweep::Doomed { at, id, room, tag, looked: false } = world.sweep else { return false };
    let unchanged = world.node.room(id).is_some_and(|vmr| vmr.room == Some(room) && vmr.tag == tag);
    world.sweep = if unchanged { Sweep::Doomed { at, id, room, tag, looked: true } } else { Sweep::Idle };
    true
}

/// Whether the sweep's delete is about to go out, its id read a moment ago.
pub(crate) fn is_between_look_and_delete(protocol: &Protocol, world: &World) -> bool {
    matches!(world.sweep, Sweep::Doomed { looked: true, .. }) && !protocol.does(Wrong::SweepWithoutLook)
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
