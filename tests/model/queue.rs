use crate::world::{Create, Instance, ROOMS, Room};

/// Each room has one message. A second one is a copy, or comes from a mistake that puts a room twice.
const COPIES: usize = 2;

/// The storage queue. The delay until a new message is visible is not modelled: a message can be received at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    messages: [[Option<MessageState>; COPIES]; ROOMS],
}

/// Identifies one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    /// The room that the message names.
    pub(crate) room: Room,
    copy: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MessageState {
    pub(crate) leased: bool,
    /// Who has the latest pop receipt. It stays valid after the lease has expired, until the next receive.
    pub(crate) latest: Holder,
    /// Not put by this service.
    pub(crate) copied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Nobody,
    Prefetch(Instance),
    Request(Create),
    /// A delete with the latest receipt is in flight, but its caller has given up waiting.
    LateDelete,
}

/// The queue's answer to a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    Done,
    /// The receipt is not the latest.
    Mismatch,
    NotFound,
}

impl Queue {
    pub(crate) fn put(&mut self, room: Room) {
        self.add(room, false);
    }

    /// Somebody else adds a message that names the room. Returns whether there was space.
    pub(crate) fn copy(&mut self, room: Room) -> bool {
        self.add(room, true)
    }

    fn add(&mut self, room: Room, copied: bool) -> bool {
        let free = self.messages[usize::from(room)].iter_mut().find(|copy| copy.is_none());
        free.map(|free| *free = Some(MessageState { leased: false, latest: Holder::Nobody, copied })).is_some()
    }

    pub(crate) fn state(&self, message: Message) -> Option<MessageState> {
        self.messages[usize::from(message.room)][usize::from(message.copy)]
    }

    pub(crate) fn state_mut(&mut self, message: Message) -> Option<&mut MessageState> {
        self.messages[usize::from(message.room)][usize::from(message.copy)].as_mut()
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (Message, MessageState)> {
        (0..).zip(self.messages).flat_map(|(room, copies)| {
            (0..).zip(copies).filter_map(move |(copy, message)| Some((Message { room, copy }, message?)))
        })
    }

    /// The answer that a delete by `holder` would get.
    pub(crate) fn would_delete(&self, message: Message, holder: Holder) -> Delete {
        match self.state(message) {
            None => Delete::NotFound,
            Some(state) if state.latest == holder => Delete::Done,
            Some(_) => Delete::Mismatch,
        }
    }

    pub(crate) fn delete(&mut self, message: Message, holder: Holder) -> Delete {
        let answer = self.would_delete(message, holder);
        if answer == Delete::Done {
            self.messages[usize::from(message.room)][usize::from(message.copy)] = None;
        }
        answer
    }

    /// Passes the latest receipt from `from` to `to`, if `from` still has it.
    pub(crate) fn pass(&mut self, message: Message, from: Holder, to: Holder) {
        if let Some(state) = self.state_mut(message)
            && state.latest == from
        {
            state.latest = to;
        }
    }

    /// The room's message expires. A copy may live for longer.
    pub(crate) fn expire(&mut self, room: Room) {
        for message in &mut self.messages[usize::from(room)] {
            message.take_if(|state| !state.copied);
        }
    }
}
