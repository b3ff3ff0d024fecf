//! Mistakes that the search must detect, and the limits of the protocol.

use crate::promises::{CONSERVATION, EXCLUSIVE, NARROW, NO_RETURN, ONCE, ORDERED, RIGHT_CITIZEN};
use crate::protocol::{Backup, Beside, Keys, Protocol, Restore, Scope, Source, Wrong};

const ONE_ROOM_COPIED: Scope = Scope { instances: 1, beside: Beside::Copies(1), ..Scope::ONE_ROOM };
const ONE_ROOM_BESIDE_OLD_BUILD: Scope = Scope { beside: Beside::OldBuild, ..Scope::ONE_ROOM };

fn breaks(promise: &'static str, wrong: Wrong, scope: Scope) {
    crate::search::breaks(promise, Protocol { scope, wrong: Some(wrong) });
}

/// With no mistake in the protocol: `scope` violates an assumption instead.
fn breaks_by_itself(promise: &'static str, scope: Scope) {
    crate::search::breaks(promise, Protocol { scope, wrong: None });
}

#[test]
fn tagging_before_the_claim_gives_a_room_two_tags() {
    breaks(RIGHT_CITIZEN, Wrong::TagBeforeClaim, Scope::ONE_ROOM);
}

#[test]
fn tagging_before_the_message_is_deleted_gives_a_room_two_tags() {
    breaks(RIGHT_CITIZEN, Wrong::TagBeforeDelete, ONE_ROOM_BESIDE_OLD_BUILD);
}

#[test]
fn a_claim_by_delete_alone_gives_a_copied_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::ClaimByDeleteAlone, ONE_ROOM_COPIED);
}

#[test]
fn a_claim_by_record_alone_gives_one_room_to_two_citizens_beside_an_old_build() {
    breaks(EXCLUSIVE, Wrong::ClaimByRecordAlone, ONE_ROOM_BESIDE_OLD_BUILD);
}

#[test]
fn a_record_not_read_after_a_lost_answer_gives_a_copied_room_to_two_citizens() {
    breaks(EXCLUSIVE, Wrong::RecordNotRead, ONE_ROOM_COPIED);
}

#[test]
fn not_found_taken_as_claimed_gives_one_room_to_two_citizens_beside_an_old_build() {
    breaks(EXCLUSIVE, Wrong::NotFoundTakenAsClaimed, ONE_ROOM_BESIDE_OLD_BUILD);
}

#[test]
fn a_put_retried_after_a_lost_answer_gives_one_room_to_two_citizens_beside_an_old_build() {
    breaks(EXCLUSIVE, Wrong::PutRepeated, Scope { ready: 0, faults: 1, ..ONE_ROOM_BESIDE_OLD_BUILD });
}

#[test]
fn a_claimed_room_put_back_gets_a_second_tag_from_a_late_call_beside_an_old_build() {
    breaks(NO_RETURN, Wrong::RoomGivenBack, Scope::ONE_ROOM);
    breaks(RIGHT_CITIZEN, Wrong::RoomGivenBack, ONE_ROOM_BESIDE_OLD_BUILD);
}

#[test]
fn a_keys_record_removed_without_its_etag_gets_the_key_two_rooms() {
    breaks(ONCE, Wrong::KeyRemovedWithoutETag, Scope { creates: 3, faults: 0, ..Scope::KEYS });
}

#[test]
fn done_written_without_the_etag_gets_the_key_two_rooms() {
    breaks(ONCE, Wrong::DoneWithoutETag, Scope::KEYS);
}

#[test]
fn a_run_taken_over_without_the_etag_gets_the_key_two_rooms() {
    breaks(ONCE, Wrong::TakeOverWithoutETag, Scope::KEYS);
}

#[test]
fn an_answer_before_the_record_says_done_gets_the_key_two_rooms() {
    breaks(ONCE, Wrong::AnswerBeforeDone, Scope::KEYS);
}

#[test]
fn a_room_burned_while_done_is_unknown_is_taken_from_the_repetition_that_got_it() {
    breaks(NO_RETURN, Wrong::DestroyedWhenDoneUnknown, Scope::KEYS);
}

#[test]
fn a_replay_of_anothers_room_shows_a_citizen_anothers_case() {
    breaks(RIGHT_CITIZEN, Wrong::ReplayOfAnothersRoom, Scope { keys: Keys::SameForAnother, ..Scope::KEYS });
}

#[test]
fn a_replay_that_does_not_check_the_tag_answers_a_room_without_it_on_a_restored_node() {
    let restored = Scope { backup: Backup::AtAnyMoment, faults: 0, ..Scope::KEYS_IN_POOL };
    breaks(RIGHT_CITIZEN, Wrong::ReplayWithoutTag, restored);
}

#[test]
fn a_message_that_outlives_ready_until_gets_a_citizens_room_swept() {
    breaks(NARROW, Wrong::MessageOutlivesMark, Scope { ages: true, ..Scope::ONE_ROOM });
}

#[test]
fn a_tag_without_the_handed_out_mark_leaves_a_room_for_ever() {
    breaks(CONSERVATION, Wrong::TagWithoutMark, Scope::ONE_ROOM);
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
    breaks(NARROW, Wrong::OnePresenceSnapshot, Scope { ends: true, instances: 1, ..Scope::ONE_ROOM });
}

#[test]
fn a_sweep_that_does_not_look_directly_before_its_delete_deletes_a_room_in_use() {
    breaks(NARROW, Wrong::SweepWithoutLook, Scope { ends: true, instances: 1, ..Scope::ONE_ROOM });
}

#[test]
fn a_disconnect_without_another_look_cuts_off_a_citizen_who_came_during_the_delete() {
    breaks(NARROW, Wrong::DisconnectWithoutLook, Scope { ends: true, instances: 1, ..Scope::ONE_ROOM });
}

#[test]
fn ending_calls_that_lack_a_room_cuts_off_a_citizen_on_a_restored_node() {
    let restored = Scope { backup: Backup::AtStart, source: Source::Direct, ready: 0, ..Scope::ONE_ROOM };
    breaks(NARROW, Wrong::CallWithoutRoomEnded, Scope { ends: true, instances: 1, creates: 1, ..restored });
}

#[test]
fn a_delete_that_is_not_noted_before_it_leaves_a_call_running_after_a_crash() {
    breaks(
        ORDERED,
        Wrong::DeleteWithoutMessage,
        Scope { ends: true, instances: 1, crashes: 1, creates: 1, ..Scope::ONE_ROOM },
    );
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
