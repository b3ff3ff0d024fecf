//! The room pool's protocol, searched: every order in which calls, crashes, lost answers, clocks and citizens can
//! come, within small bounds. What must hold is in `promises`; the mistakes that the search must see are in `Wrong`.
//!
//! It is a model: the service's own code is tested elsewhere. Whoever changes an order of calls in `src/rooms`
//! changes it here first.
//!
//! A step is one call to an outside system, done at one moment, so everything that can happen between two calls does.
//! Time is left out but for the orders that matter: a lease may run out at any moment and an instance may still
//! believe in it, a room is before its `ready-until`, past it, or past the sweep's margin, too. Also left out: the
//! delay until a new message is visible (it may be received at once), budgets and breakers (any call may fail at any
//! time), batches (an instance leases one room at a time), poison messages, the absolute lifetime.
//!
//! Assumed, and each of it true only because of what is said with it:
//!
//! * Whoever has a room in hand at its `ready-until` is done with it, and calls that were given up have died, before
//!   the margin has passed, too: `REQUEST_DEADLINE_SECONDS` against `SWEEP_MARGIN_SECONDS`. A margin shorter than the
//!   deadline breaks this, and so does a process that is suspended for longer than the margin and then goes on.
//! * Calls on their way to the node are lost when it is restored, with their connection.
//! * A restore is noticed: each instance sees a call fail before it uses what it had read before. A node that is away
//!   for longer than what was seen holds, a minute, makes this true by itself. One that is back sooner, or whose address
//!   moves to a node restored beside it, need not be noticed.
//! * The node is not restored between the look at a room by its id and the delete that goes out at once after it.
//!   Pexip knows no delete on a condition. What a restored node had acknowledged after its backup is lost: that the
//!   tag of a room is gone then is not held against the answer.
//! * Nobody enters a room for the first time, hours after it was handed out, between the sweep's second look and its
//!   delete; no change of networks begins after the first look and lasts through the second.
//!
//! The search is stateright's. With it comes `tiny_http`, for a browser view that is never started here, and nothing
//! that encrypts; it is in no binary that is shipped.

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
fn two_citizens_get_their_own_rooms_whatever_call_fails_and_whatever_instance_crashes() {
    holds(Scope { crashes: 2, ..Scope::HAND_OUT });
}

#[test]
fn a_pool_that_is_refilled_keeps_its_promises_through_a_crash() {
    holds(Scope { ready: 1, crashes: 1, ..Scope::HAND_OUT });
}

#[test]
fn unused_rooms_are_swept_and_nobody_is_given_one_meanwhile() {
    holds(Scope { ready: 1, ages: true, ..Scope::HAND_OUT });
}

#[test]
fn rooms_end_when_nobody_is_in_them_or_idim_asks() {
    holds(Scope { instances: 1, ready: 1, direct: true, ends: true, ..Scope::HAND_OUT });
}

#[test]
fn a_restored_node_mixes_up_no_two_citizens() {
    holds(Scope::RESTORE);
}

#[test]
fn on_a_restored_node_only_rooms_of_ours_are_swept_destroyed_and_ended() {
    holds(Scope { ages: true, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
    holds(Scope { ends: true, backup: Backup::AtAnyMoment, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

/// Takes some minutes: only with `MAXCONF_FULL=1`.
#[test]
fn larger_worlds_keep_the_promises_too() {
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
fn a_tag_before_the_claim_mixes_up_two_citizens() {
    breaks(RIGHT_CITIZEN, Wrong::TagBeforeClaim, ONE_ROOM);
}

#[test]
fn a_lease_believed_without_a_claim_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::LeaseBelieved, ONE_ROOM);
}

#[test]
fn not_found_taken_for_a_won_claim_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::NotFoundIsAWin, ONE_ROOM);
}

#[test]
fn a_put_repeated_after_a_lost_answer_gives_one_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::PutRepeated, Scope { ready: 0, ..ONE_ROOM });
}

#[test]
fn a_claimed_room_given_back_gets_a_second_tag_by_a_late_call() {
    breaks(NO_RETURN, Wrong::RoomGivenBack, ONE_ROOM);
    breaks(RIGHT_CITIZEN, Wrong::RoomGivenBack, ONE_ROOM);
}

#[test]
fn a_message_that_outlives_its_rooms_mark_has_the_room_swept_from_under_a_citizen() {
    breaks(NARROW, Wrong::MessageOutlivesMark, Scope { ages: true, ..ONE_ROOM });
}

#[test]
fn a_tag_without_the_time_of_the_hand_out_leaves_a_room_for_ever() {
    breaks(CONSERVATION, Wrong::TagWithoutMark, ONE_ROOM);
}

#[test]
fn a_prefetch_trusted_after_a_restore_mixes_up_two_citizens() {
    breaks(RIGHT_CITIZEN, Wrong::PrefetchTrusted, Scope::RESTORE);
}

#[test]
fn a_tag_written_without_another_look_after_trouble_mixes_up_two_citizens() {
    breaks(RIGHT_CITIZEN, Wrong::TagWithoutLook, Scope::RESTORE);
}

#[test]
fn a_tag_written_without_another_look_after_trouble_lands_on_a_foreign_room() {
    breaks(NARROW, Wrong::TagWithoutLook, Scope::RESTORE_WITH_FOREIGN_ROOM);
}

#[test]
fn a_room_destroyed_by_its_id_alone_is_another_one_on_a_restored_node() {
    breaks(NARROW, Wrong::DestroyWithoutLook, Scope::RESTORE_WITH_FOREIGN_ROOM);
}

#[test]
fn a_room_swept_by_its_id_alone_is_another_one_on_a_restored_node() {
    breaks(NARROW, Wrong::SweepWithoutLook, Scope { ages: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[test]
fn a_delete_repeated_by_its_id_alone_is_another_rooms_on_a_restored_node() {
    breaks(NARROW, Wrong::DeleteRepeated, Scope { ends: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[test]
fn one_look_at_who_is_there_sweeps_a_room_whose_citizen_changes_networks() {
    breaks(NARROW, Wrong::OneLookAtPresence, Scope { ends: true, instances: 1, ..ONE_ROOM });
}

// What the protocol cannot do: the assumptions above are needed.

#[test]
fn a_restore_that_nobody_notices_mixes_up_two_citizens() {
    breaks_by_itself(RIGHT_CITIZEN, Scope { restore: Restore::Unnoticed, ..Scope::RESTORE });
}

#[test]
fn a_restore_between_a_look_and_its_delete_costs_another_room() {
    let restore = Restore::EvenBeforeADelete;
    breaks_by_itself(NARROW, Scope { restore, ends: true, ..Scope::RESTORE_WITH_FOREIGN_ROOM });
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the service")]
fn is_full_run() -> bool {
    std::env::var_os("MAXCONF_FULL").is_some_and(|value| !value.is_empty())
}
