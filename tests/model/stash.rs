//! What an instance does in the background to have a leased and checked room at hand.

use crate::protocol::{Protocol, Restore, Wrong};
use crate::queue::{Holder, Queue};
use crate::step::{StashStep, Step};
use crate::world::{Age, Instance, ReadyRoom, Stash, World};

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for instance in 0..protocol.scope.instances {
        let mut can = |step| steps.push(Step::Stash(instance, step));
        match world.stash(instance) {
            Stash::Empty => {
                let visible = world.queue.tickets().filter(|(_, message)| !message.leased);
                visible.for_each(|(ticket, _)| can(StashStep::Receives(ticket)));
            }
            Stash::Unchecked(_) | Stash::Ready(ReadyRoom { fresh: false, .. }) => {
                [StashStep::Checks, StashStep::Forgets].into_iter().for_each(can);
            }
            Stash::Ready(_) => can(StashStep::Forgets),
        }
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, instance: Instance, step: StashStep) -> bool {
    let next = match (world.stash(instance), step) {
        (Stash::Empty, StashStep::Receives(ticket)) => world.queue.message_mut(ticket).map(|message| {
            message.leased = true;
            message.latest = Holder::Stash(instance);
            Stash::Unchecked(ticket)
        }),
        (Stash::Unchecked(ticket) | Stash::Ready(ReadyRoom { ticket, .. }), StashStep::Checks) => {
            Some(check(protocol, world, instance, ticket))
        }
        (Stash::Unchecked(_) | Stash::Ready(_), StashStep::Forgets) => Some(Stash::Empty),
        _ => None,
    };
    if let Some(stash) = next {
        *world.stash_mut(instance) = stash;
    }
    next.is_some()
}

/// By name, so that the id is the one that the node has now.
fn check(protocol: &Protocol, world: &mut World, instance: Instance, ticket: u8) -> Stash {
    let room = Queue::room(ticket);
    match world.node.find(room) {
        Some((id, vmr)) if vmr.tag.is_none() => {
            let lasts = world.life(room).age == Age::Young || protocol.does(Wrong::MessageOutlivesMark);
            if lasts { Stash::Ready(ReadyRoom { ticket, room, id, fresh: true }) } else { Stash::Empty }
        }
        // Gone, or another citizen's: dropped with its message. Left there, it comes back after its lease.
        Some(_) | None => {
            world.queue.delete(ticket, Holder::Stash(instance));
            Stash::Empty
        }
    }
}

/// What was looked up before the node's trouble is looked up again.
pub(crate) fn node_came_back(protocol: &Protocol, world: &mut World) {
    let noticed = protocol.scope.restore == Restore::Noticed && !protocol.does(Wrong::StashTrusted);
    for stash in &mut world.stashes {
        if let Stash::Ready(ready) = stash {
            ready.fresh &= !noticed;
        }
    }
}
