//! The room pool's protocol, searched.

mod hand_out;
mod node;
mod outside;
mod promises;
mod protocol;
mod queue;
mod search;
mod stash;
mod step;
mod upkeep;
mod world;

use protocol::{Restore, Scope, Wrong};
use search::{breaks, holds};
use promises::*;
const T: Scope = Scope::two_of_each();
#[test]
fn a() {
 holds(Scope{restore: Restore::Noticed, ready:1, ..T});
}
#[test]
fn b() {
 holds(Scope{restore: Restore::Noticed, ready:1, direct: true, ..T});
}
#[test]
fn w() {
 breaks(RIGHT_CITIZEN, Wrong::TagBeforeClaim, T);
 breaks(EXCLUSIVE, Wrong::LeaseBelieved, T);
 breaks(EXCLUSIVE, Wrong::NotFoundIsAWin, T);
 breaks(EXCLUSIVE, Wrong::PutRepeated, Scope{ready:0, ..T});
 breaks(NO_RETURN, Wrong::RoomGivenBack, T);
 breaks(RIGHT_CITIZEN, Wrong::RoomGivenBack, T);
 breaks(NARROW, Wrong::MessageOutlivesMark, Scope{ages:true,..T});
 breaks(CONSERVATION, Wrong::TagWithoutMark, T);
}
#[test]
fn x() {
let t = Scope{restore: Restore::Noticed, ready:1, direct: true, ..T};
 breaks(RIGHT_CITIZEN, Wrong::StashTrusted, t);
}
#[test]
fn x2() {
let t = Scope{restore: Restore::Noticed, ready:1, direct: true, ..T};
 breaks(RIGHT_CITIZEN, Wrong::TagWithoutLook, t);
}
#[test]
fn x3() {
let t = Scope{restore: Restore::Noticed, ready:1, direct: true, ..T};
 breaks(NARROW, Wrong::BurnWithoutLook, t);
}
#[test]
fn x4() {
let t = Scope{restore: Restore::Noticed, ready:1, direct: true, ..T};
 breaks(NARROW, Wrong::SweepWithoutLook, Scope{ages: true, instances:1, citizens:1, ..t});
 breaks(NARROW, Wrong::DeleteRepeated, Scope{ends: true, instances:1, citizens:1, ..t});
 breaks(NARROW, Wrong::OneLookAtPresence, Scope{ends: true, instances:1, citizens:1, ..Scope::two_of_each()});
}
#[test]
fn x5() {
let t = Scope{restore: Restore::Noticed, ready:1, direct: true, ..T};
 breaks(RIGHT_CITIZEN, None, Scope{restore:Restore::Unnoticed, ..t});
}
