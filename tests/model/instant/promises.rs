//! What must hold in every reachable state. The numbers are those of the design's invariants.

use stateright::Property;

use super::create::Phase;
use super::end::{Deletion, Hint};
use super::protocol::{Protocol, Validity};
use super::step::{Step, SweepStep};
use super::sweep::Sweep;
use super::world::{Life, Record, Waited, Whereabouts, World};
use crate::promises::{EXCLUSIVE, ONCE, REPLAYED, TAKEN_OVER};
use crate::step::Call;

pub(super) const EQUAL: &str = "I13: all answers for a room have the same PINs and tag";
pub(super) const JOINABLE: &str =
    "I13: a room can be joined, and dial out, from its answer or its beginning until it is over";
pub(super) const REFUSED: &str =
    "I13: no look-up of a room is answered with success before it begins or once it is over";
pub(super) const DISCONNECTED: &str = "I13: a maintenance run leaves nobody in a room that is over";
pub(super) const DISCONNECTED_TWICE: &str =
    "after the second disconnect nobody is left in by an answer from before the end";
pub(super) const LIVE: &str = "I8: no conference is disconnected while its room can be joined";
pub(super) const KEPT: &str =
    "I8: a room that somebody has ends by IDIM or its validity, or, with no validity of its own, empty";
pub(super) const ENDED_ONCE: &str = "the end of a room is reported once";
pub(super) const NOT_OVER: &str = "no repetition is answered with a room that is over";
pub(super) const PASSED_ON: &str = "no look-up of a pool room is rejected";

/// States that the search must reach; otherwise it would prove nothing.
const IN_AFTER_END: &str = "a node lets somebody in by an answer from before the end";
const WAITED: &str = "somebody who waited at the PIN prompt gets in after the second disconnect";
const ENDED_EMPTY: &str = "the end of its conference ends a room";
const EXPIRED: &str = "somebody is in a room when its validity ends";

/// A promise about a step. A broken one is recorded, because the state after the step may not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    Exclusive,
    Once,
    Equal,
    Joinable,
    Refused,
    Live,
    Kept,
    EndedOnce,
    NotOver,
    PassedOn,
}

pub(super) fn properties(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(EXCLUSIVE, |_, world: &World| world.keeps(Promise::Exclusive)),
        Property::always(ONCE, |_, world: &World| world.keeps(Promise::Once)),
        Property::always(EQUAL, |_, world: &World| world.keeps(Promise::Equal)),
        Property::always(JOINABLE, |_, world: &World| world.keeps(Promise::Joinable)),
        Property::always(REFUSED, |_, world: &World| world.keeps(Promise::Refused)),
        Property::always(LIVE, |_, world: &World| world.keeps(Promise::Live)),
        Property::always(KEPT, |_, world: &World| world.keeps(Promise::Kept)),
        Property::always(ENDED_ONCE, |_, world: &World| world.keeps(Promise::EndedOnce)),
        Property::always(NOT_OVER, |_, world: &World| world.keeps(Promise::NotOver)),
        Property::always(PASSED_ON, |_, world: &World| world.keeps(Promise::PassedOn)),
        Property::always(DISCONNECTED, nobody_is_left),
        Property::always(DISCONNECTED_TWICE, |_, world: &World| {
            !is_anyone_inside(world, |life, waited| life.deletion == Deletion::Done && waited == Waited::No)
        }),
    ];
    properties.extend(states_to_reach(protocol));
    properties
}

fn states_to_reach(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![];
    if protocol.scope.keys {
        properties.push(Property::sometimes(REPLAYED, |protocol: &Protocol, world: &World| {
            let answered = |phase| matches!(phase, Phase::Answered(_));
            (0..protocol.scope.creates).all(|create| answered(world.request(create).phase))
        }));
        properties.push(Property::sometimes(TAKEN_OVER, |_, world: &World| {
            world.request(0).phase == Phase::Failed && matches!(world.request(1).phase, Phase::Answered(1))
        }));
    }
    if protocol.scope.ends && protocol.scope.callers > 0 {
        properties.push(Property::sometimes(IN_AFTER_END, |_, world: &World| {
            is_anyone_inside(world, |life, waited| life.record == Record::Ended && waited == Waited::No)
        }));
        properties.push(Property::sometimes(WAITED, |_, world: &World| {
            is_anyone_inside(world, |life, waited| life.deletion == Deletion::Done && waited == Waited::AtPrompt)
        }));
        if protocol.scope.validity != Validity::Given {
            properties.push(Property::sometimes(ENDED_EMPTY, |_, world: &World| {
                world.rooms().any(|(_, life)| {
                    life.record == Record::Ended
                        && life.hint == Hint::Discarded
                        && life.deletion == Deletion::NotAsked
                        && !life.has_late_end
                })
            }));
        }
        if protocol.scope.validity != Validity::Unending {
            properties.push(Property::sometimes(EXPIRED, |_, world: &World| {
                is_anyone_inside(world, |life, _| life.is_over() && life.record != Record::Ended)
            }));
        }
    }
    properties
}

fn is_anyone_inside(world: &World, is_met: impl Fn(&Life, Waited) -> bool) -> bool {
    world.callers().any(|caller| match caller {
        Whereabouts::Inside(room, waited) => is_met(world.room(room), waited),
        _ => false,
    })
}

/// Lets everybody in who has an answer and runs the sweep by its own steps. Returns whether nobody is in a room that is
/// over then.
fn nobody_is_left(protocol: &Protocol, world: &World) -> bool {
    let mut world = *world;
    world.sweep = Sweep::Idle;
    for caller in world.callers_mut() {
        if let Whereabouts::AtPrompt(room) | Whereabouts::Entering(room) | Whereabouts::ChangingNetworks(room, _) =
            *caller
        {
            *caller = Whereabouts::Inside(room, Waited::AtPrompt);
        }
    }
    let mut sweep = |step| {
        if let Some(next) = protocol.after(&world, Step::Sweep(step)) {
            world = next;
        }
        world.sweep != Sweep::Idle
    };
    let mut is_running = sweep(SweepStep::Lists);
    while is_running {
        is_running = sweep(SweepStep::Reads(Call::Answered)) && sweep(SweepStep::Disconnects(Call::Answered));
    }
    !is_anyone_inside(&world, |life, _| life.is_over())
}
