use crate::node::Node;
use crate::promises::Promise;
use crate::protocol::{Backup, Beside, Scope};
use crate::queue::{Message, Queue};
use crate::records::Records;
use crate::request::{End, Phase, ReadyRoom, Request};

/// The largest numbers that any scope uses.
pub(crate) const INSTANCES: usize = 3;
pub(crate) const CREATES: usize = 3;
pub(crate) const ROOMS: usize = 3;

pub(crate) type Instance = u8;
/// A create request.
pub(crate) type Create = u8;
/// A citizen, the citizen's `uuiData`, and the tag made from it.
pub(crate) type Citizen = u8;
/// A room name, never used twice.
pub(crate) type Room = u8;
/// The node's id of a room. The node counts ids up; a restore resets the counter to an older value.
pub(crate) type Id = u8;

/// The complete state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) backup: Option<Node>,
    pub(crate) restored: bool,
    pub(crate) foreign_rooms_to_come: u8,
    pub(crate) queue: Queue,
    pub(crate) copies_to_come: u8,
    pub(crate) records: Records,
    pub(crate) lives: [Life; ROOMS],
    pub(crate) prefetches: [Prefetch; INSTANCES],
    pub(crate) requests: [Request; CREATES],
    pub(crate) sweep: Sweep,
    pub(crate) faults_to_come: u8,
    pub(crate) crashes_to_come: u8,
    broken: Broken,
}

/// The history of a room name, whatever the node stores for it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) made: bool,
    pub(crate) provision: Provision,
    pub(crate) age: Age,
    /// The lifetime of a room that was handed out is over.
    pub(crate) over: bool,
    pub(crate) claimed: bool,
    /// The citizen whose tag it carried first.
    pub(crate) carried: Option<Citizen>,
    pub(crate) presence: Presence,
    pub(crate) order: Order,
    pub(crate) call: RunningCall,
}

/// What is to become of the citizen's call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum RunningCall {
    #[default]
    Goes,
    /// IDIM's delete has removed its room from the node.
    ToEnd,
}

/// The message of IDIM's delete in the queue of ended rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    #[default]
    None,
    Put,
    /// Some instance has found nothing left to do.
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Provision {
    #[default]
    Idle,
    /// The POST was not answered.
    LookingUp(Instance),
    Putting(Instance),
}

/// By the room's `ready-until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Age {
    #[default]
    Young,
    /// Past `ready-until`: its message has expired.
    Old,
    /// Past the sweep's margin, too.
    Sweepable,
}

/// Whether the citizen is in the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Presence {
    #[default]
    NotEntered,
    Inside,
    ChangingNetworks,
    InsideAgain,
    Left,
}

impl Presence {
    /// Whether the node shows a participant in the room.
    pub(crate) fn is_seen(self) -> bool {
        matches!(self, Self::Inside | Self::InsideAgain)
    }

    /// Whether a delete would end the citizen's call.
    pub(crate) fn is_in_use(self) -> bool {
        self.is_seen() || self == Self::ChangingNetworks
    }
}

/// The room in an instance's prefetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Prefetch {
    #[default]
    Empty,
    Unchecked(Message),
    Ready(ReadyRoom),
}

impl Prefetch {
    pub(crate) fn message(self) -> Option<Message> {
        match self {
            Self::Empty => None,
            Self::Unchecked(message) | Self::Ready(ReadyRoom { message, .. }) => Some(message),
        }
    }
}

/// The sweep, which handles one room at a time. Runs never overlap: the timer is a singleton.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Sweep {
    #[default]
    Idle,
    SeenEmpty {
        at: Instance,
        id: Id,
        room: Room,
    },
    Deleting {
        at: Instance,
        id: Id,
        room: Room,
        tag: Option<Citizen>,
        checked: bool,
    },
    /// The room is deleted. Until the Conferencing Nodes know that, they let its citizen in.
    Disconnecting {
        at: Instance,
        room: Room,
    },
}

impl Sweep {
    pub(crate) fn instance(self) -> Option<Instance> {
        match self {
            Self::Idle => None,
            Self::SeenEmpty { at, .. } | Self::Deleting { at, .. } | Self::Disconnecting { at, .. } => Some(at),
        }
    }
}

/// The promises broken on the path to this state, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Broken(u8);

impl World {
    pub(crate) fn at_start(scope: &Scope) -> Self {
        let mut world = Self {
            node: Node::default(),
            backup: None,
            restored: false,
            foreign_rooms_to_come: scope.foreign_rooms,
            queue: Queue::default(),
            copies_to_come: if let Beside::Copies(copies) = scope.beside { copies } else { 0 },
            records: Records::default(),
            lives: Default::default(),
            prefetches: Default::default(),
            requests: Default::default(),
            sweep: Sweep::default(),
            faults_to_come: scope.faults,
            crashes_to_come: scope.crashes,
            broken: Broken::default(),
        };
        for room in 0..scope.ready {
            world.node.make(Some(room), None);
            world.queue.put(room);
            world.life_mut(room).made = true;
        }
        world.backup = (scope.backup == Backup::AtStart).then_some(world.node);
        world
    }

    pub(crate) fn breaks(&mut self, promise: Promise) {
        self.broken.0 |= 1 << promise as u8;
    }

    pub(crate) fn keeps(&self, promise: Promise) -> bool {
        self.broken.0 & (1 << promise as u8) == 0
    }

    pub(crate) fn life(&self, room: Room) -> &Life {
        &self.lives[usize::from(room)]
    }

    pub(crate) fn life_mut(&mut self, room: Room) -> &mut Life {
        &mut self.lives[usize::from(room)]
    }

    pub(crate) fn prefetch(&self, instance: Instance) -> Prefetch {
        self.prefetches[usize::from(instance)]
    }

    pub(crate) fn prefetch_mut(&mut self, instance: Instance) -> &mut Prefetch {
        &mut self.prefetches[usize::from(instance)]
    }

    pub(crate) fn request(&self, create: Create) -> &Request {
        &self.requests[usize::from(create)]
    }

    pub(crate) fn request_mut(&mut self, create: Create) -> &mut Request {
        &mut self.requests[usize::from(create)]
    }

    /// The next unused room name.
    pub(crate) fn next_room(&self, scope: &Scope) -> Option<Room> {
        (0..scope.rooms).find(|room| !self.life(*room).made)
    }

    /// Carries out the citizen's PATCH or POST on the room that has this id now, whichever that is.
    pub(crate) fn write_tag(&mut self, citizen: Citizen, id: Id, marked: bool) {
        let Some(vmr) = self.node.room_mut(id) else { return };
        vmr.tag = Some(citizen);
        vmr.marked |= marked;
        match vmr.room {
            Some(room) => self.carries(room, citizen),
            // A foreign room must never be changed.
            None => self.breaks(Promise::Narrow),
        }
    }

    pub(crate) fn carries(&mut self, room: Room, citizen: Citizen) {
        let first = *self.life_mut(room).carried.get_or_insert(citizen);
        if first != citizen {
            self.breaks(Promise::RightCitizen);
        }
    }

    /// Carries out a delete by id that is meant for `room`.
    pub(crate) fn delete(&mut self, id: Id, room: Room, asked_for: bool) {
        let Some(vmr) = self.node.delete(id) else { return };
        // A PATCH still in flight will not find the room.
        for request in self.requests.iter_mut().filter(|request| request.late_tag == Some(id)) {
            request.late_tag = None;
        }
        let in_use = vmr.room.is_some_and(|room| self.life(room).presence.is_in_use());
        if vmr.room != Some(room) || (in_use && !asked_for) {
            self.breaks(Promise::Narrow);
        }
        if in_use && asked_for {
            self.life_mut(room).call = RunningCall::ToEnd;
        }
    }

    /// Ends the room's call, if there is one.
    pub(crate) fn disconnect(&mut self, room: Room, asked_for: bool) {
        let life = self.life_mut(room);
        let in_use = life.presence.is_in_use();
        life.call = RunningCall::Goes;
        if in_use {
            life.presence = Presence::Left;
        }
        if in_use && !asked_for {
            self.breaks(Promise::Narrow);
        }
    }

    /// Whether node, backup or queue contain the room.
    pub(crate) fn is_there(&self, room: Room) -> bool {
        self.node.find(room).is_some()
            || self.backup.is_some_and(|node| node.find(room).is_some())
            || self.queue.messages().any(|(message, _)| message.room == room)
    }

    /// Whether an unfinished request works on the room.
    pub(crate) fn is_in_hand(&self, room: Room) -> bool {
        self.requests.iter().any(|request| request.phase.room_in_hand() == Some(room))
    }

    pub(crate) fn is_answered(&self, room: Room) -> bool {
        self.requests.iter().any(|request| request.phase == Phase::Answered(room))
    }

    /// Whether IDIM has asked to delete the room.
    pub(crate) fn is_ended(&self, room: Room) -> bool {
        self.life(room).order != Order::None
            || self
                .requests
                .iter()
                .any(|request| request.phase == Phase::Answered(room) && request.end != End::NotAsked)
    }
}
