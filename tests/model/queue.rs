use crate::world::{Citizen, Instance, ROOMS, Room};

/// Each name has one message. The second one is for the mistakes that put a name twice.
const COPIES: usize = 2;

/// The storage queue. A message is hidden until its room is replicated; since a message may be received at any time
/// after that, the delay itself is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    messages: [[Option<Message>; COPIES]; ROOMS],
}

/// Tells a message from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    /// The name in the message.
    pub(crate) room: Room,
    copy: u8,
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
    Prefetch(Instance),
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
        let copies = &mut self.messages[usize::from(room)];
        if let Some(free) = copies.iter_mut().find(|copy| copy.is_none()) {
            *free = Some(Message { leased: false, latest: Holder::Nobody });
        }
    }

    pub(crate) fn message(&self, ticket: Ticket) -> Option<Message> {
        self.messages[usize::from(ticket.room)][usize::from(ticket.copy)]
    }

    pub(crate) fn message_mut(&mut self, ticket: Ticket) -> Option<&mut Message> {
        self.messages[usize::from(ticket.room)][usize::from(ticket.copy)].as_mut()
    }

    pub(crate) fn tickets(&self) -> impl Iterator<Item = (Ticket, Message)> {
        (0..).zip(self.messages).flat_map(|(room, copies)| {
            (0..).zip(copies).filter_map(move |(copy, message)| Some((Ticket { room, copy }, message?)))
        })
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
            self.messages[usize::from(ticket.room)][usize::from(ticket.copy)] = None;
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
        self.messages[usize::from(room)] = [None; COPIES];
    }
}
