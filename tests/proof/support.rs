//! Shared by the proofs: instances with simulated dependencies, callers, faults, and the final account of all rooms.

mod aftermath;
mod builds;
mod caller;
mod clocks;
mod conflicts;
mod dice;
mod instance;
mod ledger;
mod old_build;
#[path = "../api/support/package.rs"]
mod package;
mod program;
mod stock;
mod storm;
mod waiting;

pub(crate) use maxconf_simulators::world::{POOL_QUEUE, RECORDS, World};

pub(crate) use aftermath::let_everything_age;
pub(crate) use builds::{OtherBuild, THIS_BUILD};
pub(crate) use caller::{Caller, Case, Cases, HangUp, Invitation, NodeAnswer, Outcome};
pub(crate) use clocks::Clocks;
pub(crate) use conflicts::Conflicts;
pub(crate) use dice::{Dice, is_full, report};
pub(crate) use instance::{Instance, Mortal, Rooms, Served, Settings};
pub(crate) use ledger::Ledger;
pub(crate) use old_build::OldBuild;
pub(crate) use package::unpacked;
pub(crate) use program::Program;
pub(crate) use stock::Stock;
pub(crate) use storm::{FaultPlan, Storm};
pub(crate) use waiting::{LIMIT, alone, becomes_quiet, eventually};
