//! The ends of a room before its validity is over: IDIM deletes it, or its conference has ended and nobody is in it.

use super::promises::Promise;
use super::protocol::{Protocol, Validity, Wrong};
use super::step::{DeleteStep, HintStep, Step};
use super::world::{Room, Whereabouts, World};
use crate::step::Call;

/// IDIM's delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Deletion {
    #[default]
    NotAsked,
    /// The record was read as open.
    Ending,
    /// The record is ended, by this delete.
    Disconnecting,
    /// Until each node has used the answers from before the end.
    Waiting,
    /// The second disconnect was answered.
    Done,
    /// It was not, or the instance was killed before it: the conference is left to maintenance.
    LeftToSweep,
}

impl Deletion {
    /// What is left when the instance is killed. `None`: it was doing nothing.
    pub(super) fn killed(self) -> Option<Self> {
        match self {
            Self::NotAsked | Self::Done | Self::LeftToSweep => None,
            Self::Ending => Some(Self::NotAsked),
            Self::Disconnecting | Self::Waiting => Some(Self::LeftToSweep),
        }
    }
}

/// The message that the room's conference has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Hint {
    #[default]
    NotSent,
    Put,
    SeenEmpty,
    SeenEmptyTwice,
    /// Nobody was in the room directly before its end.
    Looked,
    /// The record was read as open.
    Ending,
    Discarded,
}

impl Hint {
    /// Whether an instance has received it.
    pub(super) fn is_at_work(self) -> bool {
        !matches!(self, Self::NotSent | Self::Put | Self::Discarded)
    }
}

pub(super) fn offer(world: &World, steps: &mut Vec<Step>) {
    const DISCONNECT: [Call; 2] = [Call::Answered, Call::Lost];
    for (room, life) in world.rooms().filter(|(_, life)| life.is_known() && !life.is_on_pexip()) {
        let mut add = |offered: &[DeleteStep]| steps.extend(offered.iter().map(|step| Step::Delete(room, *step)));
        match life.deletion {
            Deletion::NotAsked => add(&[DeleteStep::Reads]),
            Deletion::Ending => add(&[Call::Answered, Call::Late].map(DeleteStep::Ends)),
            Deletion::Disconnecting => add(&DISCONNECT.map(DeleteStep::Disconnects)),
            Deletion::Waiting => add(&DISCONNECT.map(DeleteStep::DisconnectsAgain)),
            Deletion::Done | Deletion::LeftToSweep => {}
        }
        let mut add = |offered: &[HintStep]| steps.extend(offered.iter().map(|step| Step::Hint(room, *step)));
        match life.hint {
            Hint::NotSent => add(&[HintStep::IsPut]),
            Hint::Put => add(&[HintStep::FindsEmpty]),
            Hint::SeenEmpty => add(&[HintStep::FindsEmptyAgain]),
            Hint::SeenEmptyTwice => add(&[HintStep::ReadsPresence]),
            Hint::Looked => add(&[HintStep::Reads]),
            Hint::Ending => add(&[Call::Answered, Call::Late].map(HintStep::Ends)),
            Hint::Discarded => {}
        }
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take_delete(protocol: &Protocol, world: &mut World, room: Room, step: DeleteStep) -> bool {
    let next = match (world.room(room).deletion, step) {
        (Deletion::NotAsked, DeleteStep::Reads) => {
            // Otherwise 404: it is over.
            if world.room(room).open().is_none() {
                return false;
            }
            if protocol.does(Wrong::DisconnectedBeforeEnd) {
                world.disconnect(room);
            }
            Deletion::Ending
        }
        (Deletion::Ending, DeleteStep::Ends(call)) => {
            if call == Call::Answered && world.end_record(protocol, room) {
                world.report_end(room);
                Deletion::Disconnecting
            } else {
                // Ended by another, which is 404, or unknown, which is 503.
                world.room_mut(room).has_late_end |= call != Call::Answered;
                Deletion::NotAsked
            }
        }
        (Deletion::Disconnecting, DeleteStep::Disconnects(call)) => {
            if call == Call::Answered {
                world.disconnect(room);
            }
            if protocol.does(Wrong::EndWithoutSecondDisconnect) { Deletion::Done } else { Deletion::Waiting }
        }
        (Deletion::Waiting, DeleteStep::DisconnectsAgain(call)) => {
            // By an assumption of the model.
            if world.callers().any(|caller| caller == Whereabouts::Entering(room)) {
                return false;
            }
            if call == Call::Answered {
                world.disconnect(room);
                Deletion::Done
            } else {
                Deletion::LeftToSweep
            }
        }
        _ => return false,
    };
    world.room_mut(room).deletion = next;
    true
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take_hint(protocol: &Protocol, world: &mut World, room: Room, step: HintStep) -> bool {
    let is_empty = !world.is_occupied(room);
    let next = match (world.room(room).hint, step) {
        (Hint::NotSent, HintStep::IsPut) => Hint::Put,
        (Hint::Put, HintStep::FindsEmpty) => {
            let has_own_validity = protocol.scope.validity == Validity::Given;
            let is_endable = !has_own_validity || protocol.does(Wrong::OwnValidityIgnored);
            match (is_endable && world.room(room).open().is_some() && is_empty, protocol.does(Wrong::OneReading)) {
                (true, false) => Hint::SeenEmpty,
                (true, true) => Hint::SeenEmptyTwice,
                (false, _) => Hint::Discarded,
            }
        }
        (Hint::SeenEmpty, HintStep::FindsEmptyAgain) => {
            // Who changes networks is back within the 30 seconds between the readings.
            let is_changing = |caller| matches!(caller, Whereabouts::ChangingNetworks(from, _) if from == room);
            if world.callers().any(is_changing) {
                return false;
            }
            if is_empty { Hint::SeenEmptyTwice } else { Hint::Discarded }
        }
        (Hint::SeenEmptyTwice, HintStep::ReadsPresence) => {
            if is_empty || protocol.does(Wrong::EndWithoutLook) {
                Hint::Looked
            } else {
                Hint::Discarded
            }
        }
        (Hint::Looked, HintStep::Reads) => {
            if world.room(room).open().is_some() {
                Hint::Ending
            } else {
                Hint::Discarded
            }
        }
        (Hint::Ending, HintStep::Ends(call)) => {
            // A change that arrives late may meet somebody who has come since.
            if world.room(room).open().is_some()
                && (world.is_in_use(room) || protocol.scope.validity == Validity::Given)
            {
                world.breaks(Promise::Kept);
            }
            if call == Call::Answered {
                if world.end_record(protocol, room) {
                    world.report_end(room);
                }
                Hint::Discarded
            } else {
                world.room_mut(room).has_late_end = true;
                // The message is received again.
                Hint::Put
            }
        }
        _ => return false,
    };
    world.room_mut(room).hint = next;
    true
}
