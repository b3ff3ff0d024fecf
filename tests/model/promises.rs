//! What must hold in every reachable state. The numbers are those of the design's invariants.

use stateright::Property;

use crate::protocol::{Backup, Beside, Keys, Protocol};
use crate::request::{Claiming, End, Phase, RecordHalf};
use crate::step::{Call, OutsideStep, Step, UpkeepStep};
use crate::world::{Age, Order, Presence, Provision, Room, RunningCall, Sweep, World};

pub(crate) const EXCLUSIVE: &str = "I1: a room is in at most one answer";
pub(crate) const RIGHT_CITIZEN: &str = "I2: a room carries its citizen's tag and no other";
pub(crate) const NO_RETURN: &str = "I4: a claimed room is handed out or destroyed, never both, never offered again";
pub(crate) const CONSERVATION: &str = "I5: every room is deleted in the end";
pub(crate) const NARROW: &str = "I8: only the intended room is deleted, and no call is cut off that IDIM has not ended";
pub(crate) const ORDERED: &str = "a call whose room IDIM has deleted is ended, whatever process stops";
pub(crate) const ONCE: &str = "I12: a key is answered with at most one room";

/// States that the search must reach; otherwise it would prove nothing.
pub(crate) const ALL_ANSWERED: &str = "every citizen gets a room while rooms are left";
pub(crate) const REPLAYED: &str = "every repetition is answered with the first room";
pub(crate) const TAKEN_OVER: &str = "a repetition gets a room after the first request has failed";
pub(crate) const COPY_DROPPED: &str = "a copied message meets the record of its room's claim";
pub(crate) const OLD_BUILD_TAGS: &str = "the old build tags a room";
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
    Once,
}

pub(crate) fn properties(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(EXCLUSIVE, |_, world: &World| world.keeps(Promise::Exclusive)),
        Property::always(RIGHT_CITIZEN, |_, world: &World| world.keeps(Promise::RightCitizen)),
        Property::always(NO_RETURN, |protocol: &Protocol, world: &World| {
            world.keeps(Promise::NoReturn) && (protocol.scope.has_copies() || !is_offered_again(world))
        }),
        Property::always(CONSERVATION, |protocol, world| !is_settled(world) || nothing_is_left(protocol, world)),
        Property::always(NARROW, |_, world: &World| world.keeps(Promise::Narrow)),
        Property::always(ONCE, |_, world: &World| world.keeps(Promise::Once)),
        Property::always(ORDERED, |_, world: &World| {
            !is_settled(world)
                || world.lives.iter().all(|life| life.call == RunningCall::Goes || life.order == Order::Put)
        }),
    ];
    properties.extend(keys_and_copies(protocol));
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
                && answered(world).any(|room| world.node.find(room).is_some_and(|(_, vmr)| vmr.tag.is_some()))
        }));
    }
    properties
}

/// What a search with keys, copies or an old build must reach.
fn keys_and_copies(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![];
    match protocol.scope.keys {
        Keys::None => properties.push(Property::sometimes(ALL_ANSWERED, |protocol: &Protocol, world: &World| {
            answered(world).count() == usize::from(protocol.scope.creates.min(protocol.scope.rooms))
        })),
        Keys::Same => {
            properties.push(Property::sometimes(REPLAYED, |protocol: &Protocol, world: &World| {
                answered(world).count() == usize::from(protocol.scope.creates)
            }));
            properties.push(Property::sometimes(TAKEN_OVER, |_, world: &World| {
                world.requests[0].phase == Phase::Failed && answered(world).count() > 0
            }));
        }
        Keys::SameForAnother => {}
    }
    match protocol.scope.beside {
        Beside::Nothing => {}
        Beside::Copies(_) => properties.push(Property::sometimes(COPY_DROPPED, |_, world: &World| {
            world.requests.iter().any(|request| {
                matches!(request.phase, Phase::Claiming(Claiming { ready, record: RecordHalf::NotOurs, .. })
                    if world.life(ready.message.room).claimed)
            })
        })),
        Beside::OldBuild => {
            properties.push(Property::sometimes(OLD_BUILD_TAGS, |protocol: &Protocol, world: &World| {
                world
                    .requests
                    .iter()
                    .any(|request| matches!(request.phase, Phase::Tagged(_)) && protocol.scope.is_old_build(request.at))
            }));
        }
    }
    properties
}

/// The rooms answered, one for each answered request.
fn answered(world: &World) -> impl Iterator<Item = Room> {
    world.requests.iter().filter_map(|request| match request.phase {
        Phase::Answered(room) => Some(room),
        _ => None,
    })
}

fn is_offered_again(world: &World) -> bool {
    world.queue.messages().any(|(message, _)| world.life(message.room).claimed)
}

/// Whether no operation is in progress.
fn is_settled(world: &World) -> bool {
    world.sweep == Sweep::Idle
        && world.lives.iter().all(|life| life.provision == Provision::Idle)
        && world.requests.iter().all(|request| {
            !request.phase.is_under_way() && request.late_tag.is_none() && request.end.instance().is_none()
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
            UpkeepStep::SweepDisconnects,
        ] {
            world = protocol.after(&world, Step::Upkeep(step)).unwrap_or(world);
        }
    }
    world.node.ids().all(|id| world.node.room(id).is_none_or(|vmr| vmr.room.is_none()))
}
