use crate::world::{Citizen, Instance, ROOMS, Room, Ticket};

/// Each name has one message; a second one is there for the mistakes that put a name twice.
const TICKETS: usize = 2 * ROOMS;

/// The storage queue. A message is hidden until its room is replicated; since a message may be received at any time
/// after that, the delay itself is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    messages: [Option<Message>; TICKETS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) leased: bool,
    /// Who has the latest receipt. It stays good after the lease has run out, until somebody else receives.
    pub(crate) latest: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Nobody,
    Stash(Instance),
    Request(Citizen),
    /// A delete with the latest receipt is still on its way; nobody waits for it.
    LateClaim,
}

/// What the queue says to a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    Done,
    /// The receipt is not the latest.
    Mismatch,
    NotFound,
}

impl Queue {
    pub(crate) fn put(&mut self, room: Room) {
        let first = usize::from(room);
        let free = if self.messages[first].is_none() { first } else { first + ROOMS };
        self.messages[free] = Some(Message { leased: false, latest: Holder::Nobody });
    }

    pub(crate) fn message(&self, ticket: Ticket) -> Option<Message> {
        self.messages[usize::from(ticket)]
    }

    pub(crate) fn message_mut(&mut self, ticket: Ticket) -> Option<&mut Message> {
        self.messages[usize::from(ticket)].as_mut()
    }

    pub(crate) fn tickets(&self) -> impl Iterator<Item = (Ticket, Message)> {
        (0..).zip(self.messages).filter_map(|(ticket, message)| Some((ticket, message?)))
    }

    /// The name in the message.
    pub(crate) fn room(ticket: Ticket) -> Room {
        const NAMES: Ticket = ROOMS as Ticket;
        ticket % NAMES
    }

    /// What a delete by `holder` would be answered.
    pub(crate) fn would_delete(&self, ticket: Ticket, holder: Holder) -> Delete {
        match self.message(ticket) {
            None => Delete::NotFound,
            Some(message) if message.latest == holder => Delete::Done,
            Some(_) => Delete::Mismatch,
        }
    }

    pub(crate) fn delete(&mut self, ticket: Ticket, holder: Holder) -> Delete {
        let answer = self.would_delete(ticket, holder);
        if answer == Delete::Done {
            self.messages[usize::from(ticket)] = None;
        }
        answer
    }

    /// The latest receipt goes from `from` to `to`, if it is `from`'s still.
    pub(crate) fn pass(&mut self, ticket: Ticket, from: Holder, to: Holder) {
        if let Some(message) = self.message_mut(ticket)
            && message.latest == from
        {
            message.latest = to;
        }
    }

    /// All messages with this name reach the end of their lifetime.
    pub(crate) fn expire(&mut self, room: Room) {
        self.messages[usize::from(room)] = None;
        self.messages[usize::from(room) + ROOMS] = None;
    }
}
