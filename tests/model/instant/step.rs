use super::protocol::Clocks;
use super::world::{Caller, Room, Task};
use crate::step::Call;
use crate::world::Create;

/// One atomic event: at most one call to an outside system, together with the caller's decision on its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Request(Create, RequestStep),
    Caller(Caller, CallerStep),
    /// `DELETE /room/{name}` by IDIM.
    Delete(Room, DeleteStep),
    /// The message that a room's conference has ended.
    Hint(Room, HintStep),
    Sweep(SweepStep),
    Outside(OutsideStep),
}

impl Step {
    /// Whether a call gets no answer.
    pub(super) fn is_fault(self) -> bool {
        match self {
            Self::Request(
                _,
                RequestStep::MakesKey(call)
                | RequestStep::ReadsKey(call)
                | RequestStep::TakesKeyOver(call)
                | RequestStep::RemovesKey(call)
                | RequestStep::MakesRoom(call)
                | RequestStep::ReadsRoom(call)
                | RequestStep::Notes(call)
                | RequestStep::Destroys(call)
                | RequestStep::Replays(call),
            )
            | Self::Delete(
                _,
                DeleteStep::Ends(call) | DeleteStep::Disconnects(call) | DeleteStep::DisconnectsAgain(call),
            )
            | Self::Hint(_, HintStep::Ends(call))
            | Self::Sweep(SweepStep::Reads(call) | SweepStep::Disconnects(call)) => call != Call::Answered,
            Self::Request(..)
            | Self::Caller(..)
            | Self::Delete(..)
            | Self::Hint(..)
            | Self::Sweep(_)
            | Self::Outside(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestStep {
    Arrives,
    /// `keyed::begin`, in three calls.
    MakesKey(Call),
    ReadsKey(Call),
    TakesKeyOver(Call),
    /// `PoolSource::take`.
    TakesFromPool,
    /// `InstantRooms::make`, with the read of `RecordStore::write_certainly` after a lost answer.
    MakesRoom(Call),
    ReadsRoom(Call),
    /// `Run::finish`: the key's record is changed to done.
    Notes(Call),
    /// `Undelivered::deliver`.
    Answers,
    /// The room is dropped undelivered.
    CallerIsGone,
    /// `keyed::replay`.
    Replays(Call),
    /// `Destroyer::destroy_handed_out`.
    Destroys(Call),
    /// `Run::give_up`.
    RemovesKey(Call),
    /// An abandoned write to the key's record arrives.
    LateKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerStep {
    /// The node looks up the room that the caller dials: `InstantRooms::answer`.
    Dials(Room, Clocks),
    /// The node looks up the room because its conference places a call.
    ConferenceDialsOut(Clocks),
    /// The node looks it up again for the PIN, as for a browser.
    EntersPin(Clocks),
    /// The node has the answer to the second look-up.
    GetsIn,
    /// The node judges the PIN by the first answer, as for a dialled device.
    GetsInByFirstAnswer,
    ChangesNetworks,
    IsBack,
    Leaves,
}

/// `InstantRooms::end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeleteStep {
    /// `end_record`, its read.
    Reads,
    /// `end_record`, its change.
    Ends(Call),
    /// `disconnect_in_background`, the first time.
    Disconnects(Call),
    /// `disconnect_in_background`, after `SECOND_DISCONNECT`.
    DisconnectsAgain(Call),
}

/// `EndedRooms::end_instant_rooms`. After the end of the record it disconnects dialled legs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HintStep {
    /// `EndedRooms::note`. Anybody with the account of the event sink can send the event.
    IsPut,
    /// `dialled_if_endable`, and the first reading of presence.
    FindsEmpty,
    /// The second reading, `MIN_TIME_EMPTY` later.
    FindsEmptyAgain,
    /// `end_instant_room_if_empty`.
    ReadsPresence,
    /// `end_record`, its read.
    Reads,
    /// `end_record`, its change.
    Ends(Call),
}

/// `InstantRooms::sweep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepStep {
    Lists,
    /// `is_left_over`.
    Reads(Call),
    Disconnects(Call),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutsideStep {
    ValidityBegins(Room),
    ValidityEnds(Room),
    DialOutMarginPasses(Room),
    /// The key's record says running, and its time is over.
    RunningTimesOut,
    /// An abandoned make of the room's record arrives.
    LateMake(Room),
    /// An abandoned change of the room's record to ended arrives.
    LateEnd(Room),
    Kill(Task),
}
