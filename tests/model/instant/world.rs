use super::create::Request;
use super::end::{Deletion, Hint};
use super::promises::Promise;
use super::protocol::{Clocks, Protocol, Scope, Validity, Wrong};
use super::sweep::Sweep;
use crate::records::Records;
use crate::world::Create;

/// The largest numbers that any scope uses.
const CREATES: usize = 3;
const CALLERS: usize = 3;

pub(super) type Caller = u8;
/// The room that the create request of this number hands out.
pub(super) type Room = u8;
/// A room of another deployment, whose records are elsewhere.
pub(super) const ELSEWHERE: Room = 3;
const ROOMS: usize = 4;

/// The complete state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) requests: [Request; CREATES],
    /// Of the key. Those of the rooms are in `rooms`.
    pub(super) records: Records,
    rooms: [Life; ROOMS],
    callers: [Whereabouts; CALLERS],
    pub(super) sweep: Sweep,
    pub(super) faults_to_come: u8,
    pub(super) kills_to_come: u8,
    broken: u16,
}

/// A room, whether it is a record or on Pexip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) record: Record,
    pub(super) time: Time,
    /// A make whose caller has given up waiting.
    pub(super) late_make: Option<Create>,
    /// A change to ended whose caller has given up waiting.
    pub(super) has_late_end: bool,
    /// What the first answer said of it, to a create or to a node.
    pub(super) shown: Option<Shown>,
    end: End,
    /// With the mistake: an instance has answered a look-up with success.
    pub(super) is_cached: bool,
    pub(super) deletion: Deletion,
    pub(super) hint: Hint,
}

impl Life {
    /// Whether it is a room of the pool.
    pub(super) fn is_on_pexip(&self) -> bool {
        self.record == Record::OnPexip
    }

    /// Whether somebody knows its name.
    pub(super) fn is_known(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether the room is over, whatever its record says now.
    pub(super) fn is_over(&self) -> bool {
        self.end != End::Never || self.time >= Time::JustOver
    }

    pub(super) fn can_be_joined(&self) -> bool {
        matches!(self.record, Record::Open(_)) && !self.is_over() && self.time == Time::Valid
    }

    /// As [`Self::can_be_joined`], by the conference itself.
    pub(super) fn can_dial_out(&self) -> bool {
        matches!(self.record, Record::Open(_)) && self.end == End::Never && self.time <= Time::JustOver
    }

    /// The request that made the room, if it can be joined now or later: `InstantRecord::configuration`.
    pub(super) fn open(&self) -> Option<Create> {
        match self.record {
            Record::Open(maker) if self.time < Time::JustOver => Some(maker),
            _ => None,
        }
    }
}

/// `instant/<room name>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Record {
    #[default]
    None,
    /// There is none: the room is one of the pool.
    OnPexip,
    /// Holds PINs and tag, as this request made them.
    Open(Create),
    Ended,
}

/// Whether the end of the room was ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum End {
    #[default]
    Never,
    Written,
    /// In the answer to IDIM, in the audit, in a metric.
    Reported,
}

/// By the room's validity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Time {
    #[default]
    Before,
    Valid,
    /// For less than `DIAL_OUT_MARGIN`.
    JustOver,
    Over,
}

impl Time {
    /// As an instance sees it.
    pub(super) fn by(self, clocks: Clocks) -> Self {
        match (clocks, self) {
            (Clocks::Agree, _) => self,
            (Clocks::OneBehind, Self::Before | Self::Valid) => Self::Before,
            (Clocks::OneBehind, Self::JustOver) => Self::Valid,
            (Clocks::OneBehind, Self::Over) => Self::JustOver,
        }
    }
}

/// What an answer says of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shown {
    /// The request from whose `uuiData` the tag is made.
    pub(super) maker: Create,
    pub(super) pins: Pins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pins {
    /// Drawn with the room.
    OfRoom,
    DrawnForAnswer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Whereabouts {
    #[default]
    Outside,
    /// The first look-up was answered with success.
    AtPrompt(Room),
    /// So was the second. The answer is on its way to the node.
    Entering(Room),
    Inside(Room, Waited),
    /// Absent for less than 30 s.
    ChangingNetworks(Room, Waited),
}

impl Whereabouts {
    /// The room in whose conference the caller is.
    pub(super) fn in_call(self) -> Option<Room> {
        match self {
            Self::Inside(room, _) | Self::ChangingNetworks(room, _) => Some(room),
            Self::Outside | Self::AtPrompt(_) | Self::Entering(_) => None,
        }
    }
}

/// Time between the answer that let the caller in and its use by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waited {
    /// The node used it at once.
    No,
    /// The caller stayed at the PIN prompt, for any time.
    AtPrompt,
}

/// What an instance does, and loses when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Request(Create),
    Delete(Room),
    Hint(Room),
    Sweep,
}

impl World {
    pub(super) fn at_start(scope: &Scope) -> Self {
        Self {
            requests: Default::default(),
            records: Records::default(),
            rooms: Default::default(),
            callers: Default::default(),
            sweep: Sweep::default(),
            faults_to_come: scope.faults,
            kills_to_come: scope.kills,
            broken: 0,
        }
    }

    pub(super) fn breaks(&mut self, promise: Promise) {
        self.broken |= 1 << promise as u16;
    }

    pub(super) fn keeps(&self, promise: Promise) -> bool {
        self.broken & (1 << promise as u16) == 0
    }

    pub(super) fn has_broken_promise(&self) -> bool {
        self.broken != 0
    }

    pub(super) fn request(&self, create: Create) -> &Request {
        &self.requests[usize::from(create)]
    }

    pub(super) fn request_mut(&mut self, create: Create) -> &mut Request {
        &mut self.requests[usize::from(create)]
    }

    pub(super) fn room(&self, room: Room) -> &Life {
        &self.rooms[usize::from(room)]
    }

    pub(super) fn room_mut(&mut self, room: Room) -> &mut Life {
        &mut self.rooms[usize::from(room)]
    }

    pub(super) fn rooms(&self) -> impl Iterator<Item = (Room, &Life)> {
        (0..).zip(&self.rooms)
    }

    pub(super) fn caller(&self, caller: Caller) -> Whereabouts {
        self.callers[usize::from(caller)]
    }

    pub(super) fn callers(&self) -> impl Iterator<Item = Whereabouts> {
        self.callers.into_iter()
    }

    pub(super) fn callers_mut(&mut self) -> impl Iterator<Item = &mut Whereabouts> {
        self.callers.iter_mut()
    }

    pub(super) fn move_caller(&mut self, caller: Caller, to: Whereabouts) {
        self.callers[usize::from(caller)] = to;
    }

    /// Whether presence shows somebody in the room.
    pub(super) fn is_occupied(&self, room: Room) -> bool {
        self.callers().any(|caller| matches!(caller, Whereabouts::Inside(inside, _) if inside == room))
    }

    /// Whether the end of the room would cut somebody off.
    pub(super) fn is_in_use(&self, room: Room) -> bool {
        self.callers().any(|caller| caller.in_call() == Some(room))
    }

    /// An answer says this of the room.
    pub(super) fn show(&mut self, room: Room, shown: Shown) {
        let first = *self.room_mut(room).shown.get_or_insert(shown);
        if first != shown {
            self.breaks(Promise::Equal);
        }
    }

    /// Disconnects the room's conference.
    pub(super) fn disconnect(&mut self, room: Room) {
        if room == ELSEWHERE || (self.is_in_use(room) && !self.room(room).is_over()) {
            self.breaks(Promise::Live);
        }
        for caller in self.callers.iter_mut().filter(|caller| caller.in_call() == Some(room)) {
            *caller = Whereabouts::Outside;
        }
    }

    /// Carries out the make of the room's record by `If-None-Match`. Returns whether the condition was met.
    pub(super) fn make_record(&mut self, protocol: &Protocol, room: Room, maker: Create) -> bool {
        let life = self.room_mut(room);
        let made = life.record == Record::None || protocol.does(Wrong::MadeUnconditionally);
        if made {
            life.record = Record::Open(maker);
        }
        if life.time == Time::Before && protocol.scope.validity != Validity::Given {
            life.time = Time::Valid;
        }
        made
    }

    /// Carries out a change of the room's record to ended by its `ETag`. Returns whether the condition was met.
    pub(super) fn end_record(&mut self, protocol: &Protocol, room: Room) -> bool {
        let life = self.room_mut(room);
        let ended = matches!(life.record, Record::Open(_)) || protocol.does(Wrong::EndedWithoutETag);
        if ended {
            life.record = Record::Ended;
            life.has_late_end = false;
            if life.end == End::Never {
                life.end = End::Written;
            }
        }
        ended
    }

    pub(super) fn report_end(&mut self, room: Room) {
        if std::mem::replace(&mut self.room_mut(room).end, End::Reported) == End::Reported {
            self.breaks(Promise::EndedOnce);
        }
    }
}
