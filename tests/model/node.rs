use crate::world::{Citizen, Id, ROOMS, Room};

/// The most ids that exist: each room once, and a foreign one.
pub(crate) const IDS: usize = ROOMS + 1;

/// Pexip's management node: the rooms by id, and the id that the next one gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    rooms: [Option<Vmr>; IDS],
    made: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vmr {
    /// `None`: a foreign room, not made by this service.
    pub(crate) room: Option<Room>,
    pub(crate) tag: Option<Citizen>,
    /// Has the mark `handed-out`. Every pool room has `ready-until`.
    pub(crate) marked: bool,
}

impl Node {
    pub(crate) fn make(&mut self, room: Option<Room>, tag: Option<Citizen>) {
        self.rooms[usize::from(self.made)] = Some(Vmr { room, tag, marked: tag.is_some() });
        self.made += 1;
    }

    pub(crate) fn room(&self, id: Id) -> Option<Vmr> {
        self.rooms[usize::from(id)]
    }

    pub(crate) fn room_mut(&mut self, id: Id) -> Option<&mut Vmr> {
        self.rooms[usize::from(id)].as_mut()
    }

    pub(crate) fn delete(&mut self, id: Id) -> Option<Vmr> {
        self.rooms[usize::from(id)].take()
    }

    /// The ids that this node has assigned: before its backup, and since its last restore.
    pub(crate) fn ids(&self) -> std::ops::Range<Id> {
        0..self.made
    }

    pub(crate) fn find(&self, room: Room) -> Option<(Id, Vmr)> {
        self.ids().find_map(|id| self.room(id).filter(|vmr| vmr.room == Some(room)).map(|vmr| (id, vmr)))
    }

    pub(crate) fn has(&self, id: Id, room: Room) -> bool {
        self.room(id).is_some_and(|vmr| vmr.room == Some(room))
    }
}
