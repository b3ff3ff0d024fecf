//! The sweep of running conferences in each maintenance run. Runs never overlap: the timer is a singleton.

use super::protocol::{Protocol, Wrong};
use super::step::{Step, SweepStep};
use super::world::{ELSEWHERE, Record, Room, Time, World};
use crate::step::Call;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Sweep {
    #[default]
    Idle,
    Reading(Rooms),
    /// The first of them is over.
    Disconnecting(Rooms),
}

/// Rooms whose conference ran when the sweep began, one bit for each. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rooms(u8);

impl Rooms {
    fn first(self) -> Room {
        self.0.trailing_zeros().try_into().expect("a room has one of eight bits")
    }

    fn without_first(self) -> Sweep {
        match self.0 & (self.0 - 1) {
            0 => Sweep::Idle,
            rest => Sweep::Reading(Self(rest)),
        }
    }
}

pub(super) fn offer(world: &World, steps: &mut Vec<Step>) {
    const CALL: [Call; 2] = [Call::Answered, Call::Lost];
    match world.sweep {
        Sweep::Idle => steps.push(Step::Sweep(SweepStep::Lists)),
        Sweep::Reading(_) => steps.extend(CALL.map(SweepStep::Reads).map(Step::Sweep)),
        Sweep::Disconnecting(_) => steps.extend(CALL.map(SweepStep::Disconnects).map(Step::Sweep)),
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take(protocol: &Protocol, world: &mut World, step: SweepStep) -> bool {
    world.sweep = match (world.sweep, step) {
        (Sweep::Idle, SweepStep::Lists) => {
            let running = world.rooms().map(|(room, _)| room).filter(|room| runs(protocol, world, *room));
            match running.fold(0, |rooms, room| rooms | 1 << room) {
                0 => Sweep::Idle,
                rooms => Sweep::Reading(Rooms(rooms)),
            }
        }
        (Sweep::Reading(rooms), SweepStep::Reads(call)) => {
            let left_over = match call {
                Call::Answered => is_left_over(protocol, world, rooms.first()),
                _ => protocol.does(Wrong::SweptUnread),
            };
            if left_over { Sweep::Disconnecting(rooms) } else { rooms.without_first() }
        }
        (Sweep::Disconnecting(rooms), SweepStep::Disconnects(call)) => {
            if call == Call::Answered {
                world.disconnect(rooms.first());
            }
            rooms.without_first()
        }
        _ => return false,
    };
    true
}

fn runs(protocol: &Protocol, world: &World, room: Room) -> bool {
    world.is_occupied(room) || (room == ELSEWHERE && protocol.scope.elsewhere)
}

fn is_left_over(protocol: &Protocol, world: &World, room: Room) -> bool {
    let life = world.room(room);
    match life.record {
        Record::None | Record::OnPexip => protocol.does(Wrong::SweptWithoutRecord),
        Record::Open(_) => life.time >= Time::JustOver && !protocol.does(Wrong::ExpiredNotSwept),
        Record::Ended => true,
    }
}
