//! Events outside the service: time, crashes, a restored node, citizens.

use crate::protocol::{Backup, Protocol, Restore, Wrong};
use crate::queue::Holder;
use crate::step::{OutsideStep, Step};
use crate::world::{Age, Presence, Provision, Room, Sweep, World};
use crate::{hand_out, prefetch, upkeep};

use OutsideStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let scope = &protocol.scope;
    let mut add = |offered: &[S]| steps.extend(offered.iter().copied().map(Step::Outside));
    for (message, state) in world.queue.messages() {
        if state.leased {
            add(&[S::LeaseEnds(message)]);
        }
        if state.latest == Holder::LateDelete {
            add(&[S::LateDelete(message)]);
        }
    }
    for room in 0..scope.rooms {
        if world.records.late_claim(room).is_some() {
            add(&[S::LateRecord(room)]);
        }
        if world.copies_to_come > 0 && world.life(room).made {
            add(&[S::Copies(room)]);
        }
    }
    if !world.records.overdue && world.records.key().is_some_and(|record| record.done.is_none()) {
        add(&[S::RunningTimesOut]);
    }
    let is_deleting = |room| matches!(world.sweep, Sweep::Disconnecting { room: swept, .. } if swept == room);
    for room in (0..scope.rooms).filter(|room| world.is_there(*room) || is_deleting(*room)) {
        match world.life(room).age {
            Age::Young if scope.ages => add(&[S::ReadyUntilPasses(room)]),
            Age::Old if scope.ages => add(&[S::MarginPasses(room)]),
            _ => {}
        }
        if scope.ends {
            add(&[S::LifetimePasses(room)]);
            match world.life(room).presence {
                Presence::NotEntered => add(&[S::Enters(room)]),
                Presence::Inside => add(&[S::ChangesNetworks(room), S::Leaves(room)]),
                Presence::ChangingNetworks => add(&[S::IsBack(room)]),
                Presence::InsideAgain => add(&[S::Leaves(room)]),
                Presence::Left => {}
            }
        }
    }
    if world.crashes_to_come > 0 {
        for instance in 0..scope.instances {
            add(&[S::Crash(instance)]);
        }
    }
    if world.backup.is_some() {
        add(&[S::Restore]);
    } else if scope.backup == Backup::AtAnyMoment && !world.restored {
        add(&[S::Backup]);
    }
    if world.foreign_rooms_to_come > 0 {
        add(&[S::ForeignRoom]);
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, step: OutsideStep) -> bool {
    match step {
        S::LeaseEnds(message) => world.queue.state_mut(message).is_some_and(|state| {
            state.leased = false;
            true
        }),
        S::LateDelete(message) => {
            world.queue.delete(message, Holder::LateDelete);
            true
        }
        S::LateRecord(room) => world.records.late_claim_arrives(room),
        S::RunningTimesOut => {
            world.records.overdue = true;
            true
        }
        S::Copies(room) => {
            world.copies_to_come -= 1;
            world.queue.copy(room)
        }
        S::ReadyUntilPasses(room) => {
            world.life_mut(room).age = Age::Old;
            if !protocol.does(Wrong::MessageOutlivesMark) {
                world.queue.expire(room);
            }
            true
        }
        S::MarginPasses(room) => margin_passes(protocol, world, room),
        S::LifetimePasses(room) => {
            let passes = !world.life(room).over && world.life(room).carried.is_some() && !world.is_in_hand(room);
            world.life_mut(room).over |= passes;
            passes
        }
        S::Crash(instance) => {
            world.crashes_to_come -= 1;
            let prefetched = prefetch::forget(world, instance);
            let handing_out = hand_out::crash(world, instance);
            let in_maintenance = upkeep::crash(world, instance);
            prefetched || handing_out || in_maintenance
        }
        S::Backup => {
            world.backup = Some(world.node);
            true
        }
        S::Restore => restore(protocol, world),
        S::ForeignRoom => {
            world.node.make(None, None);
            world.foreign_rooms_to_come -= 1;
            true
        }
        S::Enters(_) | S::ChangesNetworks(_) | S::IsBack(_) | S::Leaves(_) => move_citizen(world, step),
    }
}

/// Requests reach their deadline, and abandoned calls stop having effects, long before `ready-until` and the margin
/// have passed: a deadline takes seconds, a lease one minute, the margin one hour.
fn margin_passes(protocol: &Protocol, world: &mut World, room: Room) -> bool {
    if world.is_in_hand(room) || world.life(room).provision != Provision::Idle {
        return false;
    }
    for instance in 0..protocol.scope.instances {
        if world.prefetch(instance).message().is_some_and(|message| message.room == room) {
            prefetch::forget(world, instance);
        }
    }
    for request in &mut world.requests {
        if request.late_tag.is_some_and(|id| world.node.has(id, room)) {
            request.late_tag = None;
        }
    }
    world.life_mut(room).age = Age::Sweepable;
    true
}

fn restore(protocol: &Protocol, world: &mut World) -> bool {
    // No client can rule out a restore between a check and the delete that follows: Pexip has no conditional delete.
    let before_delete =
        hand_out::is_between_check_and_delete(protocol, world) || upkeep::is_between_check_and_delete(protocol, world);
    if before_delete && protocol.scope.restore != Restore::EvenBeforeADelete {
        return false;
    }
    let Some(node) = world.backup.take() else { return false };
    world.node = node;
    world.restored = true;
    hand_out::node_came_back(protocol, world);
    prefetch::node_came_back(protocol, world);
    true
}

fn move_citizen(world: &mut World, step: OutsideStep) -> bool {
    let (room, presence) = match step {
        S::Enters(room) => (room, Presence::Inside),
        S::ChangesNetworks(room) => (room, Presence::ChangingNetworks),
        S::IsBack(room) => (room, Presence::InsideAgain),
        S::Leaves(room) => (room, Presence::Left),
        _ => return false,
    };
    let enters = presence == Presence::Inside || presence == Presence::InsideAgain;
    let is_deleting = matches!(world.sweep, Sweep::Disconnecting { room: swept, .. } if swept == room);
    let can_enter = world.node.find(room).is_some() || is_deleting;
    // Assumption of the model: nobody comes between the look at the room and the delete that follows at once, and no
    // change of networks begins after the first presence snapshot and lasts through a later look.
    let ruled_out = match world.sweep {
        Sweep::Deleting { room: swept, checked, .. } => {
            swept == room && (presence == Presence::ChangingNetworks || (enters && checked))
        }
        Sweep::SeenEmpty { room: swept, .. } | Sweep::Disconnecting { room: swept, .. } => {
            swept == room && presence == Presence::ChangingNetworks
        }
        Sweep::Idle => false,
    };
    if !world.is_answered(room) || (enters && !can_enter) || ruled_out {
        return false;
    }
    world.life_mut(room).presence = presence;
    true
}
