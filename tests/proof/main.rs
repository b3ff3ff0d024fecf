//! Proofs that the pool keeps its promises when processes die, callers leave and load comes. Each runs the real
//! service against simulators that keep state, at random but seeded moments, and then lets the books be balanced.
//!
//! `MAXCONF_FULL=1` makes the long ones as long as they are meant to be; `MAXCONF_SEED` repeats a run's dice.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real clocks and send requests")]

mod hang_up;
mod kill;
mod million;
mod outage;
mod scale_out;
mod support;
mod swap;
