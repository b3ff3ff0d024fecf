//! The prefetch: how an instance leases and checks a room in the background.

use crate::protocol::{Protocol, Restore, Wrong};
use crate::queue::{Holder, Message};
use crate::request::ReadyRoom;
use crate::step::{PrefetchStep, Step};
use crate::world::{Age, Instance, Prefetch, World};

use PrefetchStep as S;

pub(crate) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for instance in 0..protocol.scope.instances {
        let mut add = |offered: &[S]| steps.extend(offered.iter().map(|step| Step::Prefetch(instance, *step)));
        match world.prefetch(instance) {
            Prefetch::Empty => {
                for (message, _) in world.queue.messages().filter(|(_, state)| !state.leased) {
                    add(&[S::Receives(message)]);
                }
            }
            Prefetch::Unchecked(_) | Prefetch::Ready(ReadyRoom { fresh: false, .. }) => {
                add(&[S::Checks, S::Forgets]);
            }
            Prefetch::Ready(_) => add(&[S::Forgets]),
        }
    }
}

pub(crate) fn take(protocol: &Protocol, world: &mut World, instance: Instance, step: PrefetchStep) -> bool {
    let next = match (world.prefetch(instance), step) {
        (Prefetch::Empty, S::Receives(message)) => world.queue.state_mut(message).map(|state| {
            state.leased = true;
            state.latest = Holder::Prefetch(instance);
            Prefetch::Unchecked(message)
        }),
        (Prefetch::Unchecked(message) | Prefetch::Ready(ReadyRoom { message, .. }), S::Checks) => {
            Some(check(protocol, world, instance, message))
        }
        (Prefetch::Unchecked(_) | Prefetch::Ready(_), S::Forgets) => return forget(world, instance),
        _ => None,
    };
    if let Some(prefetch) = next {
        *world.prefetch_mut(instance) = prefetch;
    }
    next.is_some()
}

/// Looks the room up by name, which yields the id that the node uses now.
fn check(protocol: &Protocol, world: &mut World, instance: Instance, message: Message) -> Prefetch {
    match world.node.find(message.room) {
        Some((id, vmr)) if vmr.tag.is_none() => {
            let valid = world.life(message.room).age == Age::Young || protocol.does(Wrong::MessageOutlivesMark);
            if valid {
                return Prefetch::Ready(ReadyRoom { message, id, fresh: true });
            }
            forget(world, instance);
        }
        // A dead message: the room is gone or carries a tag. Undeleted, the message would return after its lease.
        Some(_) | None => {
            world.queue.delete(message, Holder::Prefetch(instance));
        }
    }
    Prefetch::Empty
}

/// Drops the prefetched room and its receipt. Returns whether there was one.
pub(crate) fn forget(world: &mut World, instance: Instance) -> bool {
    let Some(message) = std::mem::take(world.prefetch_mut(instance)).message() else { return false };
    world.queue.pass(message, Holder::Prefetch(instance), Holder::Nobody);
    true
}

/// If the restore is noticed, rooms checked before it must be checked again.
pub(crate) fn node_came_back(protocol: &Protocol, world: &mut World) {
    let noticed = protocol.scope.restore != Restore::Unnoticed && !protocol.does(Wrong::StalePrefetchUsed);
    for prefetch in &mut world.prefetches {
        if let Prefetch::Ready(ready) = prefetch {
            ready.fresh &= !noticed;
        }
    }
}
