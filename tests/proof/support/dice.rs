use std::io::Write;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Random choices of one proof. The seed is printed, so that a run can be repeated.
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn throw(proof: &str) -> Self {
        let seed = variable("MAXCONF_SEED").and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
        report(proof, &format!("MAXCONF_SEED={seed}"));
        Self(StdRng::seed_from_u64(seed))
    }

    /// Dice for another task, so that its choices do not depend on how tasks are scheduled.
    pub(crate) fn for_one_more(&mut self) -> Self {
        Self(StdRng::seed_from_u64(self.0.random()))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub(crate) fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.0.random_range(least * 1000..=most * 1000))
    }

    /// True with a probability of `percent`/100.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Whether the long proofs are run at their full length.
pub(crate) fn is_full() -> bool {
    variable("MAXCONF_FULL").is_some()
}

/// Prints a proof's result. The test harness captures `eprintln!` and shows it for failed tests only.
pub(crate) fn report(proof: &str, line: &str) {
    let _ = writeln!(std::io::stderr(), "proof {proof}: {line}");
}

/// An environment variable of the test run; an empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "about the run of the tests, not about the service")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
