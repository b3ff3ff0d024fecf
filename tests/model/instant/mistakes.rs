//! Mistakes that the search must detect, and the limits of the protocol.

use super::promises::{
    DISCONNECTED, DISCONNECTED_TWICE, ENDED_ONCE, EQUAL, JOINABLE, KEPT, LIVE, NOT_OVER, PASSED_ON, REFUSED,
};
use super::protocol::{Clocks, Names, Protocol, Scope, Source, Validity, Wrong};
use crate::promises::EXCLUSIVE;

fn breaks(promise: &'static str, wrong: Wrong, scope: Scope) {
    crate::search::breaks(promise, Protocol { scope, wrong: Some(wrong) });
}

#[test]
fn a_pin_drawn_for_each_answer_shuts_out_whoever_has_the_first() {
    breaks(EQUAL, Wrong::PinPerAnswer, Scope::ONE_ROOM);
}

#[test]
fn a_taken_name_used_gives_one_instant_room_to_two_citizens() {
    let scope = Scope { names: Names::Same, ..Scope::TWO_CITIZENS };
    breaks(EXCLUSIVE, Wrong::TakenNameUsed, scope);
    breaks(EQUAL, Wrong::TakenNameUsed, scope);
}

#[test]
fn a_record_made_unconditionally_opens_a_room_that_has_ended_again() {
    breaks(REFUSED, Wrong::MadeUnconditionally, Scope { validity: Validity::Unending, ..Scope::ONE_ROOM });
}

#[test]
fn a_record_ended_without_its_etag_is_reported_ended_twice() {
    breaks(ENDED_ONCE, Wrong::EndedWithoutETag, Scope::ONE_ROOM);
}

#[test]
fn a_success_from_a_cache_lets_somebody_into_a_room_that_has_ended() {
    breaks(REFUSED, Wrong::SuccessCached, Scope::ONE_ROOM);
}

#[test]
fn a_beginning_by_the_clock_refuses_callers_at_an_instance_whose_clock_is_behind() {
    breaks(JOINABLE, Wrong::BeginningByClock, Scope { clocks: Clocks::OneBehind, ..Scope::ONE_ROOM });
}

#[test]
fn an_end_of_validity_that_look_ups_ignore_lets_somebody_in_after_it() {
    breaks(REFUSED, Wrong::EndOfValidityIgnored, Scope::ONE_ROOM);
}

#[test]
fn a_dial_out_without_margin_is_refused_in_a_call_that_goes_on() {
    breaks(JOINABLE, Wrong::DialOutWithoutMargin, Scope::ONE_ROOM);
}

#[test]
fn a_rejected_pool_room_shuts_out_its_citizen() {
    breaks(PASSED_ON, Wrong::PoolRoomRejected, Scope { source: Source::PoolOrInstant, ..Scope::TWO_CITIZENS });
}

#[test]
fn a_replay_that_does_not_read_the_record_answers_a_room_that_is_over() {
    breaks(NOT_OVER, Wrong::RoomThatIsOverReplayed, Scope::KEYS);
}

#[test]
fn an_instant_room_destroyed_while_done_is_unknown_is_taken_from_the_repetition_that_got_it() {
    breaks(KEPT, Wrong::DestroyedWhenDoneUnknown, Scope::KEYS);
}

#[test]
fn an_end_without_second_look_leaves_somebody_in_the_room() {
    breaks(DISCONNECTED_TWICE, Wrong::EndWithoutSecondDisconnect, Scope::ONE_ROOM);
}

#[test]
fn a_conference_disconnected_before_the_end_of_its_record_can_be_joined_again() {
    breaks(LIVE, Wrong::DisconnectedBeforeEnd, Scope::ONE_ROOM);
}

#[test]
fn one_reading_ends_an_instant_room_whose_citizen_changes_networks() {
    breaks(KEPT, Wrong::OneReading, Scope::ONE_ROOM);
}

#[test]
fn an_end_without_a_look_directly_before_it_ends_an_instant_room_in_use() {
    breaks(KEPT, Wrong::EndWithoutLook, Scope::ONE_ROOM);
}

#[test]
fn a_validity_of_its_own_ignored_ends_a_room_before_the_second_call() {
    breaks(KEPT, Wrong::OwnValidityIgnored, Scope { validity: Validity::Given, ..Scope::ONE_ROOM });
}

#[test]
fn sweeping_conferences_without_a_record_ends_calls_of_another_deployment() {
    breaks(LIVE, Wrong::SweptWithoutRecord, Scope { elsewhere: true, ..Scope::ONE_ROOM });
}

#[test]
fn sweeping_a_conference_whose_record_cannot_be_read_ends_a_call_in_an_open_room() {
    breaks(LIVE, Wrong::SweptUnread, Scope::ONE_ROOM);
}

#[test]
fn a_sweep_of_ended_rooms_alone_leaves_somebody_in_a_room_whose_validity_is_over() {
    breaks(DISCONNECTED, Wrong::ExpiredNotSwept, Scope::ONE_ROOM);
}

// Limits of the protocol: without the assumptions above, promises break.

#[test]
fn an_instance_whose_clock_is_behind_lets_somebody_in_after_the_validity() {
    let scope = Scope { clocks: Clocks::OneBehind, ..Scope::ONE_ROOM };
    crate::search::breaks(REFUSED, Protocol { scope, wrong: None });
}
