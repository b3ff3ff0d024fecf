//! Proofs that the pool keeps its promises when processes are killed, callers hang up and load is high. Each proof runs
//! the real service against stateful simulators, with random but seeded events, and finally accounts for every room.
//!
//! `MAXCONF_FULL=1` runs the long proofs at full length; `MAXCONF_SEED` repeats a run's random choices.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real clocks and send requests")]

mod copies;
mod hang_up;
mod kill;
mod kill_points;
mod million;
mod outage;
mod scale_out;
mod support;
mod swap;
