//! What happens without the service's doing: time, crashes, a restored node, citizens.

use crate::protocol::{Backup, Protocol, Restore, Wrong};
use crate::queue::Holder;
use crate::step::{OutsideStep, Step};
use crate::world::{Age, Phase, Presence, Provision, Room, Sweep, World};
use crate::{hand_out, prefetch, upkeep};

use OutsideStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let scope = &protocol.scope;
    let mut can = |offered: &[S]| steps.extend(offered.iter().copied().map(Step::Outside));
    for (ticket, message) in world.queue.tickets() {
        if message.leased {
            can(&[S::LeaseEnds(ticket)]);
        }
        if message.latest == Holder::LateClaim {
            can(&[S::LateClaim(ticket)]);
        }
    }
    for room in (0..scope.rooms).filter(|room| world.is_there(*room)) {
        match world.life(room).age {
            Age::Young if scope.ages => can(&[S::ReadyUntilPasses(room)]),
            Age::Old if scope.ages => can(&[S::MarginPasses(room)]),
            _ => {}
        }
        if scope.ends {
            can(&[S::LifetimePasses(room)]);
            match world.life(room).presence {
                Presence::NobodyYet => can(&[S::Enters(room)]),
                Presence::Inside => can(&[S::ChangesNetworks(room), S::Leaves(room)]),
                Presence::ChangingNetworks => can(&[S::IsBack(room)]),
                Presence::InsideAgain => can(&[S::Leaves(room)]),
                Presence::Left => {}
            }
        }
    }
    if world.crashes_to_come > 0 {
        for instance in 0..scope.instances {
            can(&[S::Crash(instance)]);
        }
    }
    if world.backup.is_some() {
        can(&[S::Restore]);
    } else if scope.backup == Backup::AtAnyMoment && !world.restored {
        can(&[S::Backup]);
    }
    if world.foreign_rooms_to_come > 0 {
        can(&[S::ForeignRoom]);
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, step: OutsideStep) -> bool {
    match step {
        S::LeaseEnds(ticket) => world.queue.message_mut(ticket).is_some_and(|message| {
            message.leased = false;
            true
        }),
        S::LateClaim(ticket) => {
            world.queue.delete(ticket, Holder::LateClaim);
            true
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
            let may = !world.life(room).over && world.life(room).carried.is_some() && !world.is_in_hand(room);
            world.life_mut(room).over |= may;
            may
        }
        S::Crash(instance) => {
            world.crashes_to_come -= 1;
            let prefetched = prefetch::forget(world, instance);
            let handing_out = hand_out::crash(world, instance);
            let keeping_up = upkeep::crash(world, instance);
            prefetched || handing_out || keeping_up
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

/// Requests end by their deadline, and calls that were given up die, long before `ready-until` and the margin have
/// passed: a deadline is seconds, a lease a minute, the margin an hour.
fn margin_passes(protocol: &Protocol, world: &mut World, room: Room) -> bool {
    if world.is_in_hand(room) || world.life(room).provision != Provision::Idle {
        return false;
    }
    for instance in 0..protocol.scope.instances {
        if world.prefetch(instance).ticket().is_some_and(|ticket| ticket.room == room) {
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
    // What no caller can rule out: a restore between the answer to a look and the delete that goes out at once after
    // it. Pexip knows no delete on a condition.
    let before_delete =
        hand_out::is_between_look_and_delete(protocol, world) || upkeep::is_between_look_and_delete(protocol, world);
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
    let answered = world.requests.iter().any(|request| request.phase == Phase::Answered(room));
    let comes = presence == Presence::Inside || presence == Presence::InsideAgain;
    let there = world.node.find(room).is_some();
    // A look at presence and the delete after it are two calls; whoever comes in between was not there for both looks,
    // hours after the hand-out. The same for a change of networks that begins after the first look and lasts
    // through the second.
    let unseen = match world.sweep {
        Sweep::Doomed { room: swept, .. } => swept == room && presence == Presence::Inside,
        Sweep::SeenEmpty { room: swept, .. } => swept == room && presence == Presence::ChangingNetworks,
        Sweep::Idle => false,
    };
    if !answered || (comes && !there) || unseen {
        return false;
    }
    world.life_mut(room).presence = presence;
    true
}
