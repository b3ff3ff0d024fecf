//! Model of the claim protocol. The search visits every order of calls, crashes, lost answers, clock readings and
//! citizens' actions within small bounds. `promises` states what must hold; `Wrong` lists mistakes that the search must
//! detect.
//!
//! The model does not run the service's code; other tests do. A change to the order of calls in `src/rooms` starts with
//! a change to this model. `instant` is the model of instant rooms.
//!
//! A step is one atomic call to an outside system, so every interleaving of calls is covered. Of time, only the order
//! of events is modelled: a lease may expire at any moment while an instance still takes it for valid; a room is before
//! its `ready-until`, past it, or past the sweep's margin as well. Not modelled: the delay until a new message is
//! visible (it can be received at once), budgets and circuit breakers (any call may fail at any time), batches (an
//! instance leases one room at a time), poison messages, the absolute lifetime, the expiry of room records.
//!
//! The claim is two calls side by side: the room's record is made, the message deleted. Either may be carried out, lost,
//! or arrive late. The same holds for each write to the record of an `Idempotency-Key`, of which there is one. Its
//! running time may pass while the run is still alive. Beside the service there is nothing, or somebody who copies
//! messages, or an old build that claims by the delete alone; no protocol keeps the promises beside both.
//!
//! Assumptions, each with its reason:
//!
//! * Requests that hold a room at its `ready-until` end, and abandoned calls stop having effects, before the margin has
//!   passed as well, because `REQUEST_DEADLINE_SECONDS` is shorter than `SWEEP_MARGIN_SECONDS`. A shorter margin breaks
//!   this assumption; so does a process that is suspended for longer than the margin and then resumes.
//! * Calls in flight to the node are lost when it is restored: their connections break.
//! * A restore is noticed: each instance sees a call fail before it uses what it read before the restore. A node that
//!   is down for longer than a check of a room stays valid (one minute) guarantees this. A faster restore, or an
//!   address that moves to a node restored in parallel, may go unnoticed.
//! * The node is not restored between the check of a room by its id and the delete that follows at once: Pexip has no
//!   conditional delete. What the node acknowledged after its backup is lost in a restore; an answer is not wrong
//!   because its room's tag is lost that way.
//! * Nobody comes between the look at a room and the delete that follows at once. No change of networks begins after the
//!   first presence snapshot and lasts through a later look.
//! * The message of IDIM's delete gets into the queue of ended rooms: if it does not, the delete is carried out without
//!   it, and a crash leaves its call to its participants. The put is shorter than a restore.
//!
//! The search engine is stateright. It brings in `tiny_http` for a browser view that is never started here, without
//! TLS. No shipped binary contains it.

mod claim;
mod hand_out;
mod instant;
mod key;
mod mistakes;
mod node;
mod outside;
mod prefetch;
mod promises;
mod protocol;
mod queue;
mod records;
mod request;
mod search;
mod step;
mod upkeep;
mod world;

use protocol::{Backup, Beside, Keys, Protocol, Scope, Source};

fn holds(scope: Scope) {
    search::holds(Protocol { scope, wrong: None });
}

#[test]
fn two_citizens_get_separate_rooms_whichever_call_fails_or_instance_crashes() {
    holds(Scope { crashes: 2, ..Scope::ONE_ROOM });
    holds(Scope { instances: 1, faults: 2, ..Scope::HAND_OUT });
    holds(Scope { faults: 0, ..Scope::HAND_OUT });
}

#[test]
fn a_refilled_pool_keeps_its_promises_through_a_crash() {
    holds(Scope { instances: 1, ready: 1, faults: 1, crashes: 1, ..Scope::HAND_OUT });
}

#[test]
fn an_unused_room_is_swept_and_never_handed_out_during_the_sweep() {
    holds(Scope { ages: true, ..Scope::ONE_ROOM });
    holds(Scope { instances: 1, ready: 1, faults: 1, ages: true, ..Scope::HAND_OUT });
}

#[test]
fn rooms_are_deleted_when_they_are_empty_or_idim_ends_them() {
    holds(Scope { instances: 1, ready: 1, faults: 1, source: Source::PoolOrDirect, ends: true, ..Scope::HAND_OUT });
}

#[test]
fn idims_delete_ends_the_room_and_its_call_though_a_process_stops() {
    holds(Scope { instances: 1, creates: 1, crashes: 2, faults: 1, ends: true, ..Scope::ONE_ROOM });
}

#[test]
fn a_call_whose_room_a_restored_node_has_lost_is_ended_by_idim_alone() {
    let direct = Scope { source: Source::Direct, ready: 0, creates: 1, instances: 1, ..Scope::ONE_ROOM };
    holds(Scope { backup: Backup::AtStart, faults: 1, crashes: 1, ends: true, ..direct });
}

#[test]
fn copied_messages_give_a_room_to_one_citizen() {
    holds(Scope { instances: 1, faults: 1, beside: Beside::Copies(2), ..Scope::ONE_ROOM });
    holds(Scope { instances: 1, faults: 0, beside: Beside::Copies(1), ..Scope::HAND_OUT });
}

#[test]
fn a_copied_message_of_a_swept_room_gives_nobody_a_room() {
    holds(Scope { instances: 1, faults: 0, ages: true, beside: Beside::Copies(1), ..Scope::ONE_ROOM });
}

#[test]
fn beside_an_old_build_each_room_goes_to_one_citizen() {
    holds(Scope { crashes: 1, beside: Beside::OldBuild, ..Scope::ONE_ROOM });
    holds(Scope { faults: 0, beside: Beside::OldBuild, ..Scope::HAND_OUT });
}

#[test]
fn a_repeated_request_gets_one_room_whatever_fails_or_crashes() {
    holds(Scope { crashes: 2, ..Scope::KEYS });
    holds(Scope { creates: 3, faults: 1, crashes: 1, ..Scope::KEYS });
    holds(Scope { instances: 1, keys: Keys::Same, faults: 1, ..Scope::ONE_ROOM });
}

#[test]
fn a_repeated_request_whose_room_is_ended_gets_no_other_room() {
    holds(Scope { ends: true, ..Scope::KEYS });
}

#[test]
fn a_key_reused_for_another_citizen_gets_no_room_of_the_first() {
    holds(Scope { creates: 3, keys: Keys::SameForAnother, faults: 1, crashes: 1, ..Scope::KEYS });
}

#[test]
fn a_restored_node_never_gives_a_room_anothers_tag() {
    holds(Scope { instances: 1, ..Scope::RESTORE });
}

#[test]
fn on_a_restored_node_a_repetition_gets_no_room_that_has_lost_its_tag() {
    let restored = Scope { backup: Backup::AtAnyMoment, ..Scope::KEYS_IN_POOL };
    holds(Scope { instances: 1, rooms: 1, ready: 1, faults: 1, ..restored });
}

#[test]
fn on_a_restored_node_only_our_own_rooms_are_swept_destroyed_and_ended() {
    let restored = Scope { faults: 0, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM };
    holds(Scope { ages: true, ..restored });
    holds(Scope { ends: true, ..restored });
}

/// Searches 30 million states, none of the scopes more than 3.1 million; runs only with `MAXCONF_FULL=1`.
#[test]
fn larger_scopes_keep_the_promises() {
    if !is_full_run() {
        return;
    }
    holds(Scope { faults: 1, ..Scope::HAND_OUT });
    holds(Scope { instances: 1, ..Scope::HAND_OUT });
    holds(Scope { instances: 3, ..Scope::ONE_ROOM });
    holds(Scope { creates: 3, faults: 1, ..Scope::ONE_ROOM });
    holds(Scope { instances: 1, ready: 1, crashes: 1, ..Scope::HAND_OUT });
    holds(Scope { ready: 1, faults: 0, crashes: 1, ..Scope::HAND_OUT });
    holds(Scope { instances: 1, ready: 1, faults: 1, crashes: 1, ages: true, ..Scope::HAND_OUT });
    holds(Scope { instances: 1, ready: 1, faults: 2, source: Source::PoolOrDirect, ends: true, ..Scope::HAND_OUT });
    holds(Scope { instances: 1, beside: Beside::Copies(2), ..Scope::ONE_ROOM });
    holds(Scope { faults: 1, beside: Beside::Copies(1), ..Scope::ONE_ROOM });
    holds(Scope { instances: 1, faults: 1, beside: Beside::Copies(1), ..Scope::HAND_OUT });
    holds(Scope { faults: 1, beside: Beside::OldBuild, ..Scope::HAND_OUT });
    holds(Scope { creates: 3, crashes: 1, ..Scope::KEYS });
    holds(Scope { faults: 0, crashes: 1, ..Scope::KEYS_IN_POOL });
    holds(Scope { instances: 1, faults: 0, backup: Backup::AtAnyMoment, ..Scope::KEYS_IN_POOL });
    holds(Scope { faults: 0, ..Scope::RESTORE });
    holds(Scope { instances: 1, faults: 0, foreign_rooms: 1, backup: Backup::AtAnyMoment, ..Scope::RESTORE });
    let restored = Scope { backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM };
    holds(Scope { faults: 1, ages: true, ..restored });
    holds(Scope { faults: 1, ends: true, ..restored });
    holds(Scope { instances: 2, faults: 0, ages: true, ..restored });
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the service")]
fn is_full_run() -> bool {
    std::env::var_os("MAXCONF_FULL").is_some_and(|value| !value.is_empty())
}
