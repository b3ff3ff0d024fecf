use std::fmt::Display;
use std::io::Write;

/// The most that something may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) most: u64,
    /// How far the cost may be below, in percent. A bound that is too far above would let the next layer pass unseen.
    pub(crate) slack: u64,
}

impl Bound {
    #[track_caller]
    pub(crate) fn check(self, what: &str, cost: u64) {
        let Self { most, slack } = self;
        report(format_args!("{what}: {cost} (at most {most})"));
        assert!(cost <= most, "{what}: {cost}, which is more than {most}. What was added to the path of a request?");
        let least = most - most * slack / 100;
        assert!(cost >= least, "{what}: {cost}, which is far below {most}: lower the bound to {cost} and a little");
    }
}

/// Prints a count. The test harness captures `eprintln!` and shows it for failed tests only.
fn report(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "cost: {line}");
}
