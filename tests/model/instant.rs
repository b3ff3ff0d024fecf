//! Model of instant rooms: a room is a record, which Conferencing Nodes look up for each caller. It is searched apart
//! from the claim protocol, because the two share nothing but the record of the `Idempotency-Key`.
//!
//! A step is one atomic call or one event; `step` names the function of the service that each stands for. An instance
//! that is killed loses what it was doing. Its tasks are killed one by one, which covers more: each may be at an
//! instance of its own.
//!
//! Not modelled: the PIN that a caller types; the legs that a conference dials; a look-up that storage fails (the node
//! refuses the caller, who dials again); a direct room in place of an instant one that could not be made; the removal
//! of records after eight days. A write that `RecordStore::write_certainly` settles after a lost answer counts as
//! answered. Only the make of a room's record is modelled call by call, because a second write may follow the first.
//!
//! Assumptions, each with its reason:
//!
//! * A node uses an answer before the second disconnect at a room that has ended: it waits 5 s for it, and the second disconnect
//!   comes after 6 s (`SECOND_DISCONNECT`).
//! * The clocks of all instances agree about the end of a validity, and about a beginning that the caller gave.
//! * Nobody gets into a room between the look that finds it empty and the end of its record that follows at once. No
//!   change of networks begins after the first reading of presence and lasts through a later one.

mod create;
mod end;
mod look_up;
mod mistakes;
mod outside;
mod promises;
mod protocol;
mod step;
mod sweep;
mod world;

use crate::is_full_run;
use protocol::{Clocks, Names, Protocol, Scope, Source, Validity};

fn holds(scope: Scope) {
    crate::search::holds(Protocol { scope, wrong: None });
}

#[test]
fn an_instant_room_is_joined_while_it_is_open_and_by_nobody_once_it_is_over() {
    holds(Scope { kills: 1, ..Scope::ONE_ROOM });
    holds(Scope { callers: 1, faults: 2, kills: 2, ..Scope::ONE_ROOM });
}

#[test]
fn an_instant_room_with_a_validity_of_its_own_ends_by_it_or_by_idim_alone() {
    holds(Scope { validity: Validity::Given, ..Scope::ONE_ROOM });
}

#[test]
fn an_instant_room_can_be_joined_at_once_at_an_instance_whose_clock_is_behind() {
    holds(Scope { validity: Validity::Unending, clocks: Clocks::OneBehind, ..Scope::ONE_ROOM });
}

#[test]
fn a_repeated_request_gets_one_instant_room_whatever_fails_or_is_killed() {
    holds(Scope { kills: 1, ..Scope::KEYS });
    holds(Scope { callers: 1, ends: true, faults: 1, ..Scope::KEYS });
}

#[test]
fn pool_and_instant_rooms_are_handed_out_side_by_side() {
    holds(Scope { source: Source::PoolOrInstant, ..Scope::TWO_CITIZENS });
    holds(Scope { source: Source::PoolOrInstant, faults: 1, kills: 1, ..Scope::KEYS });
}

#[test]
fn an_instant_room_whose_name_is_drawn_twice_goes_to_one_citizen() {
    holds(Scope { names: Names::Same, ..Scope::TWO_CITIZENS });
}

#[test]
fn a_conference_of_another_deployment_is_left_alone() {
    holds(Scope { elsewhere: true, callers: 1, ..Scope::ONE_ROOM });
}

/// Searches 5 million states; runs only with `MAXCONF_FULL=1`.
#[test]
fn larger_scopes_keep_the_promises_of_instant_rooms() {
    if !is_full_run() {
        return;
    }
    holds(Scope { faults: 2, kills: 2, ..Scope::ONE_ROOM });
    holds(Scope { callers: 3, kills: 1, ..Scope::ONE_ROOM });
    holds(Scope { validity: Validity::Given, faults: 2, kills: 2, ..Scope::ONE_ROOM });
    holds(Scope { creates: 3, faults: 2, kills: 1, ..Scope::KEYS });
    holds(Scope { callers: 1, ends: true, faults: 2, kills: 1, ..Scope::KEYS });
    holds(Scope { source: Source::PoolOrInstant, ends: true, faults: 0, kills: 1, ..Scope::TWO_CITIZENS });
}
