//! What an instance does in the background to have a leased and checked room at hand.

use crate::protocol::{Protocol, Restore, Wrong};
use crate::queue::{Holder, Ticket};
use crate::step::{PrefetchStep, Step};
use crate::world::{Age, Instance, Prefetch, ReadyRoom, World};

use PrefetchStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for instance in 0..protocol.scope.instances {
        let mut can = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Prefetch(instance, *step)));
        match world.prefetch(instance) {
            Prefetch::Empty => {
                for (ticket, _) in world.queue.tickets().filter(|(_, message)| !message.leased) {
                    can(&[S::Receives(ticket)]);
                }
            }
            Prefetch::Unchecked(_) | Prefetch::Ready(ReadyRoom { fresh: false, .. }) => {
                can(&[S::Checks, S::Forgets]);
            }
            Prefetch::Ready(_) => can(&[S::Forgets]),
        }
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, instance: Instance, step: PrefetchStep) -> bool {
    let next = match (world.prefetch(instance), step) {
        (Prefetch::Empty, S::Receives(ticket)) => world.queue.message_mut(ticket).map(|message| {
            message.leased = true;
            message.latest = Holder::Prefetch(instance);
            Prefetch::Unchecked(ticket)
        }),
        (Prefetch::Unchecked(ticket) | Prefetch::Ready(ReadyRoom { ticket, .. }), S::Checks) => {
            Some(check(protocol, world, instance, ticket))
        }
        (Prefetch::Unchecked(_) | Prefetch::Ready(_), S::Forgets) => return forget(world, instance),
        _ => None,
    };
    if let Some(prefetch) = next {
        *world.prefetch_mut(instance) = prefetch;
    }
    next.is_some()
}

/// By name, so that the id is the one that the node has now.
fn check(protocol: &Protocol, world: &mut World, instance: Instance, ticket: Ticket) -> Prefetch {
    match world.node.find(ticket.room) {
        Some((id, vmr)) if vmr.tag.is_none() => {
            let lasts = world.life(ticket.room).age == Age::Young || protocol.does(Wrong::MessageOutlivesMark);
            if lasts {
                return Prefetch::Ready(ReadyRoom { ticket, id, fresh: true });
            }
            forget(world, instance);
        }
        // Gone, or another citizen's: dropped with its message. Left there, it comes back after its lease.
        Some(_) | None => {
            world.queue.delete(ticket, Holder::Prefetch(instance));
        }
    }
    Prefetch::Empty
}

/// The receipt is forgotten with the room. True if there was one.
pub(crate) fn forget(world: &mut World, instance: Instance) -> bool {
    let Some(ticket) = std::mem::take(world.prefetch_mut(instance)).ticket() else { return false };
    world.queue.pass(ticket, Holder::Prefetch(instance), Holder::Nobody);
    true
}

/// What was looked up before the node's trouble is looked up again.
pub(crate) fn node_came_back(protocol: &Protocol, world: &mut World) {
    let noticed = protocol.scope.restore != Restore::Unnoticed && !protocol.does(Wrong::PrefetchTrusted);
    for prefetch in &mut world.prefetches {
        if let Prefetch::Ready(ready) = prefetch {
            ready.fresh &= !noticed;
        }
    }
}
