//! Callers, the look-ups of their nodes, and the answers.

use super::end::Hint;
use super::promises::Promise;
use super::protocol::{Clocks, Protocol, Validity, Wrong};
use super::step::{CallerStep, Step};
use super::world::{Caller, Pins, Record, Room, Shown, Time, Waited, Whereabouts, World};

use CallerStep as S;

/// How long after the end of the validity a look-up is answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Margin {
    None,
    OfDialOut,
}

/// `PolicyAnswer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Success(Shown),
    Reject,
    /// Without I/O: the node looks into its own database.
    Continue,
}

pub(super) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let clocks = [Clocks::Agree, Clocks::OneBehind];
    let clocks = if protocol.scope.clocks == Clocks::OneBehind { &clocks[..] } else { &clocks[..1] };
    for caller in 0..protocol.scope.callers {
        let mut add = |step| steps.push(Step::Caller(caller, step));
        match world.caller(caller) {
            Whereabouts::Outside => {
                for (room, _) in world.rooms().filter(|(_, life)| life.is_known()) {
                    for clock in clocks {
                        add(S::Dials(room, *clock));
                    }
                }
            }
            Whereabouts::AtPrompt(_) => {
                for clock in clocks {
                    add(S::EntersPin(*clock));
                }
                add(S::GetsInByFirstAnswer);
            }
            Whereabouts::Entering(_) => add(S::GetsIn),
            Whereabouts::Inside(..) => {
                add(S::ChangesNetworks);
                add(S::Leaves);
                for clock in clocks {
                    add(S::ConferenceDialsOut(*clock));
                }
            }
            Whereabouts::ChangingNetworks(..) => add(S::IsBack),
        }
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take(protocol: &Protocol, world: &mut World, caller: Caller, step: CallerStep) -> bool {
    let next = match (world.caller(caller), step) {
        (Whereabouts::Outside, S::Dials(room, clock)) => {
            if !is_answered_with_success(protocol, world, room, clock, Margin::None) {
                // Nothing was written.
                return true;
            }
            Whereabouts::AtPrompt(room)
        }
        (Whereabouts::AtPrompt(room), S::EntersPin(clock)) => {
            let success = is_answered_with_success(protocol, world, room, clock, Margin::None);
            if success { Whereabouts::Entering(room) } else { Whereabouts::Outside }
        }
        (Whereabouts::AtPrompt(room), S::GetsInByFirstAnswer) => Whereabouts::Inside(room, Waited::AtPrompt),
        (Whereabouts::Entering(room), S::GetsIn) => Whereabouts::Inside(room, Waited::No),
        (Whereabouts::Inside(room, _), S::ConferenceDialsOut(clock)) => {
            is_answered_with_success(protocol, world, room, clock, Margin::OfDialOut);
            return true;
        }
        (Whereabouts::Inside(room, waited), S::ChangesNetworks) => Whereabouts::ChangingNetworks(room, waited),
        (Whereabouts::ChangingNetworks(room, waited), S::IsBack) => Whereabouts::Inside(room, waited),
        (Whereabouts::Inside(..), S::Leaves) => Whereabouts::Outside,
        _ => return false,
    };
    if is_ruled_out(world, next) {
        return false;
    }
    world.move_caller(caller, next);
    true
}

/// By an assumption of the model.
fn is_ruled_out(world: &World, next: Whereabouts) -> bool {
    match next {
        Whereabouts::Inside(room, _) => matches!(world.room(room).hint, Hint::Looked | Hint::Ending),
        Whereabouts::ChangingNetworks(room, _) => world.room(room).hint.is_at_work(),
        Whereabouts::Outside | Whereabouts::AtPrompt(_) | Whereabouts::Entering(_) => false,
    }
}

/// Whether the node may use the answer to connect the call. Compares the answer with what is promised.
fn is_answered_with_success(protocol: &Protocol, world: &mut World, room: Room, clock: Clocks, margin: Margin) -> bool {
    let answer = answer(protocol, world, room, clock, margin);
    let life = *world.room(room);
    let is_promised = match margin {
        Margin::None => life.can_be_joined(),
        Margin::OfDialOut => life.can_dial_out(),
    };
    match answer {
        Answer::Success(shown) => {
            world.show(room, shown);
            if !is_promised {
                world.breaks(Promise::Refused);
            }
            world.room_mut(room).is_cached = protocol.does(Wrong::SuccessCached);
        }
        Answer::Reject if life.is_on_pexip() => world.breaks(Promise::PassedOn),
        Answer::Reject | Answer::Continue if is_promised => world.breaks(Promise::Joinable),
        Answer::Reject | Answer::Continue => {}
    }
    matches!(answer, Answer::Success(_))
}

/// `LookUp::read`, which goes by the name, and `InstantRooms::answer`, which reads the record each time.
fn answer(protocol: &Protocol, world: &World, room: Room, clock: Clocks, margin: Margin) -> Answer {
    let life = world.room(room);
    if life.is_on_pexip() {
        return if protocol.does(Wrong::PoolRoomRejected) { Answer::Reject } else { Answer::Continue };
    }
    let begins_at_once = protocol.scope.validity != Validity::Given && !protocol.does(Wrong::BeginningByClock);
    let time = life.time.by(clock);
    let has_begun = begins_at_once || time != Time::Before;
    let last = match margin {
        _ if protocol.does(Wrong::EndOfValidityIgnored) => Time::Over,
        Margin::OfDialOut if !protocol.does(Wrong::DialOutWithoutMargin) => Time::JustOver,
        Margin::OfDialOut | Margin::None => Time::Valid,
    };
    let maker = match life.record {
        Record::Open(maker) if has_begun && time <= last => Some(maker),
        _ => life.shown.filter(|_| life.is_cached).map(|shown| shown.maker),
    };
    let pins = if protocol.does(Wrong::PinPerAnswer) { Pins::DrawnForAnswer } else { Pins::OfRoom };
    maker.map_or(Answer::Reject, |maker| Answer::Success(Shown { maker, pins }))
}
