//! What must hold in every reachable state. The numbers are those of the design's invariants.

use stateright::Property;

use crate::protocol::{Backup, Protocol};
use crate::step::{Call, OutsideStep, Step, UpkeepStep};
use crate::world::{Age, End, Phase, Presence, Provision, Sweep, World};

pub(crate) const EXCLUSIVE: &str = "I1: a room is in at most one answer";
pub(crate) const RIGHT_CITIZEN: &str = "I2: a room carries its citizen's tag and no other";
pub(crate) const NO_RETURN: &str = "I4: a claimed room is never offered or claimed again";
pub(crate) const CONSERVATION: &str = "I5: every room is deleted in the end";
pub(crate) const NARROW: &str = "I8: a delete hits only the intended room, and only while it is empty";

/// States that the search must reach; otherwise it would prove nothing.
pub(crate) const ALL_ANSWERED: &str = "every citizen gets a room while rooms are left";
pub(crate) const SWEPT: &str = "an unused room is swept";
pub(crate) const ENDED: &str = "a handed-out room is swept after its lifetime";
pub(crate) const ANSWERED_AFTER_RESTORE: &str = "a citizen gets a room on the restored node";

/// A promise about a step. A broken one is recorded, because the state after the step may not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Exclusive,
    RightCitizen,
    NoReturn,
    Narrow,
}

pub(crate) fn properties(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(EXCLUSIVE, |_, world: &World| world.keeps(Promise::Exclusive)),
        Property::always(RIGHT_CITIZEN, |_, world: &World| world.keeps(Promise::RightCitizen)),
        Property::always(NO_RETURN, |_, world: &World| world.keeps(Promise::NoReturn) && !is_offered_again(world)),
        Property::always(CONSERVATION, |protocol, world| !is_settled(world) || nothing_is_left(protocol, world)),
        Property::always(NARROW, |_, world: &World| world.keeps(Promise::Narrow)),
        Property::sometimes(ALL_ANSWERED, |protocol: &Protocol, world: &World| {
            let answered = world.requests.iter().filter(|request| matches!(request.phase, Phase::Answered(_)));
            answered.count() == usize::from(protocol.scope.citizens.min(protocol.scope.rooms))
        }),
    ];
    if protocol.scope.ages {
        properties.push(Property::sometimes(SWEPT, |_, world: &World| {
            !world.restored
                && (0..)
                    .zip(&world.lives)
                    .any(|(room, life)| life.age == Age::Sweepable && !life.claimed && world.node.find(room).is_none())
        }));
    }
    if protocol.scope.ends {
        properties.push(Property::sometimes(ENDED, |_, world: &World| {
            !world.restored
                && (0..).zip(&world.lives).any(|(room, life)| life.over && world.node.find(room).is_none())
                && world.requests.iter().all(|request| request.end == End::NotAsked)
        }));
    }
    if protocol.scope.backup != Backup::Never {
        properties.push(Property::sometimes(ANSWERED_AFTER_RESTORE, |_, world: &World| {
            world.restored
                && (0..).zip(&world.requests).any(|(citizen, request)| match request.phase {
                    Phase::Answered(room) => world.node.find(room).is_some_and(|(_, vmr)| vmr.tag == Some(citizen)),
                    _ => false,
                })
        }));
    }
    properties
}

fn is_offered_again(world: &World) -> bool {
    world.queue.messages().any(|(message, _)| world.life(message.room).claimed)
}

/// Whether no operation is in progress.
fn is_settled(world: &World) -> bool {
    world.sweep == Sweep::Idle
        && world.lives.iter().all(|life| life.provision == Provision::Idle)
        && world.requests.iter().all(|request| {
            !request.phase.is_under_way() && request.late_tag.is_none() && !matches!(request.end, End::Deleting { .. })
        })
}

/// Lets all time limits pass and the sweep run by its own steps. Returns whether no room of this service is left then.
fn nothing_is_left(protocol: &Protocol, world: &World) -> bool {
    let mut world = *world;
    for room in 0..protocol.scope.rooms {
        let life = world.life_mut(room);
        if life.presence != Presence::NotEntered {
            life.presence = Presence::Left;
        }
        for step in
            [OutsideStep::ReadyUntilPasses(room), OutsideStep::MarginPasses(room), OutsideStep::LifetimePasses(room)]
        {
            world = protocol.after(&world, Step::Outside(step)).unwrap_or(world);
        }
    }
    for id in world.node.ids() {
        for step in [
            UpkeepStep::SweepFindsEmpty(0, id),
            UpkeepStep::SweepFindsEmptyAgain,
            UpkeepStep::SweepChecks,
            UpkeepStep::SweepDeletes(Call::Answered),
        ] {
            world = protocol.after(&world, Step::Upkeep(step)).unwrap_or(world);
        }
    }
    world.node.ids().all(|id| world.node.room(id).is_none_or(|vmr| vmr.room.is_none()))
}
