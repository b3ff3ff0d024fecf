//! Model of the claim protocol. The search visits every order of calls, crashes, lost answers, clock readings and
//! citizens' actions within small bounds. `promises` states what must hold; `Wrong` lists mistakes that the search must
//! detect.
//!
//! The model does not run the service's code; other tests do. A change to the order of calls in `src/rooms` starts with
//! a change to this model.
//!
//! A step is one atomic call to an outside system, so every interleaving of calls is covered. Of time, only the order
//! of events is modelled: a lease may expire at any moment while an instance still takes it for valid; a room is before
//! its `ready-until`, past it, or past the sweep's margin as well. Not modelled: the delay until a new message is
//! visible (it can be received at once), budgets and circuit breakers (any call may fail at any time), batches (an
//! instance leases one room at a time), poison messages, the absolute lifetime.
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
//! * No citizen enters a room for the first time, hours after the hand-out, between the sweep's second presence
//!   snapshot and its delete. No change of networks begins after the first snapshot and lasts through the second.
//!
//! The search engine is stateright. It brings in `tiny_http` for a browser view that is never started here, without
//! TLS. No shipped binary contains it.

mod hand_out;
mod node;
mod outside;
mod prefetch;
mod promises;
mod protocol;
mod queue;
mod search;
mod step;
mod upkeep;
mod world;

use promises::{CONSERVATION, EXCLUSIVE, NARROW, NO_RETURN, RIGHT_CITIZEN};
use protocol::{ANY, Backup, Restore, Scope, Wrong};
use search::{breaks, breaks_by_itself, holds};

#[test]
fn two_citizens_get_separate_rooms_whichever_call_fails_or_instance_crashes() {
    holds(Scope { crashes: 2, ..Scope::HAND_OUT });
}

#[test]
fn a_refilled_pool_keeps_its_promises_through_a_crash() {
    holds(Scope { ready: 1, crashes: 1, ..Scope::HAND_OUT });
}

#[test]
fn an_unused_room_is_swept_and_never_handed_out_during_the_sweep() {
    holds(Scope { ready: 1, ages: true, ..Scope::HAND_OUT });
}

#[test]
fn rooms_are_deleted_when_they_are_empty_or_idim_ends_them() {
    holds(Scope { instances: 1, ready: 1, direct: true, ends: true, ..Scope::HAND_OUT });
}

#[test]
fn a_restored_node_never_gives_a_room_anothers_tag() {
    holds(Scope::RESTORE);
}

#[test]
fn on_a_restored_node_only_our_own_rooms_are_swept_destroyed_and_ended() {
    holds(Scope { ages: true, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
    holds(Scope { ends: true, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

/// Takes several minutes; runs only with `MAXCONF_FULL=1`.
#[test]
fn larger_scopes_keep_the_promises() {
    if !is_full_run() {
        return;
    }
    holds(Scope { instances: 3, rooms: 3, ready: 3, faults: 0, ..Scope::HAND_OUT });
    holds(Scope { instances: 3, ..Scope::HAND_OUT });
    holds(Scope { citizens: 3, ..Scope::HAND_OUT });
    holds(Scope { citizens: 3, rooms: 3, faults: 0, ..Scope::HAND_OUT });
    holds(Scope { ready: 1, faults: 1, crashes: 2, ages: true, ..Scope::HAND_OUT });
    holds(Scope { faults: ANY, foreign_rooms: 1, ..Scope::RESTORE });
    holds(Scope { faults: 0, backup: Backup::AtAnyMoment, ..Scope::RESTORE });
    holds(Scope { instances: 2, ages: true, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

/// Two instances, and two citizens for one room.
const ONE_ROOM: Scope = Scope { rooms: 1, ready: 1, ..Scope::HAND_OUT };

#[test]
fn tagging_before_the_claim_gives_a_room_two_tags() {
    breaks(RIGHT_CITIZEN, Wrong::TagBeforeClaim, ONE_ROOM);
}

#[test]
fn a_lease_taken_as_a_claim_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::LeaseTakenAsClaim, ONE_ROOM);
}

#[test]
fn not_found_taken_as_claimed_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::NotFoundTakenAsClaimed, ONE_ROOM);
}

#[test]
fn a_put_retried_after_a_lost_answer_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::PutRepeated, Scope { ready: 0, ..ONE_ROOM });
}

#[test]
fn a_claimed_room_put_back_gets_a_second_tag_from_a_late_call() {
    breaks(NO_RETURN, Wrong::RoomGivenBack, ONE_ROOM);
    breaks(RIGHT_CITIZEN, Wrong::RoomGivenBack, ONE_ROOM);
}

#[test]
fn a_message_that_outlives_ready_until_gets_a_citizens_room_swept() {
    breaks(NARROW, Wrong::MessageOutlivesMark, Scope { ages: true, ..ONE_ROOM });
}

#[test]
fn a_tag_without_the_handed_out_mark_leaves_a_room_for_ever() {
    breaks(CONSERVATION, Wrong::TagWithoutMark, ONE_ROOM);
}

#[test]
fn a_prefetch_used_unchecked_after_a_restore_gives_a_room_two_tags() {
    breaks(RIGHT_CITIZEN, Wrong::StalePrefetchUsed, Scope::RESTORE);
}

#[test]
fn a_tag_written_without_a_check_after_a_node_failure_gives_a_room_two_tags() {
    breaks(RIGHT_CITIZEN, Wrong::TagWithoutCheck, Scope::RESTORE);
}

#[test]
fn a_tag_written_without_a_check_after_a_node_failure_lands_on_a_foreign_room() {
    breaks(NARROW, Wrong::TagWithoutCheck, Scope::RESTORE_WITH_FOREIGN_ROOM);
}

#[test]
fn destroying_by_id_without_a_check_deletes_another_room_on_a_restored_node() {
    breaks(NARROW, Wrong::DestroyWithoutCheck, Scope::RESTORE_WITH_FOREIGN_ROOM);
}

#[test]
fn sweeping_by_id_without_a_check_deletes_another_room_on_a_restored_node() {
    breaks(NARROW, Wrong::SweepWithoutCheck, Scope { ages: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[test]
fn retrying_a_delete_by_id_deletes_another_room_on_a_restored_node() {
    breaks(NARROW, Wrong::DeleteRepeated, Scope { ends: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[test]
fn one_presence_snapshot_sweeps_a_room_whose_citizen_changes_networks() {
    breaks(NARROW, Wrong::OnePresenceSnapshot, Scope { ends: true, instances: 1, ..ONE_ROOM });
}

// Limits of the protocol: without the assumptions above, promises break.

#[test]
fn an_unnoticed_restore_gives_a_room_two_tags() {
    breaks_by_itself(RIGHT_CITIZEN, Scope { restore: Restore::Unnoticed, ..Scope::RESTORE });
}

#[test]
fn a_restore_between_a_check_and_its_delete_deletes_another_room() {
    let restore = Restore::EvenBeforeADelete;
    breaks_by_itself(NARROW, Scope { restore, ends: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the service")]
fn is_full_run() -> bool {
    std::env::var_os("MAXCONF_FULL").is_some_and(|value| !value.is_empty())
}
