use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// What a search visits: a protocol within a scope, with at most one mistake.
pub(crate) trait Searched:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq + Send + Sync>
    + Copy
    + Debug
    + Send
    + Sync
    + 'static
{
}

/// Searches every state within the protocol's scope. Fails if a promise is broken or a required state is never reached.
pub(crate) fn holds(protocol: impl Searched) {
    let found = search(protocol, HasDiscoveries::AnyFailures, 2);
    for property in protocol.properties() {
        match (property.expectation, found.iter().find(|(name, _)| *name == property.name)) {
            (Expectation::Sometimes, None) => panic!("never reached: {}", property.name),
            (Expectation::Always, Some((promise, steps))) => panic!("{promise} – broken by\n  {steps}"),
            _ => {}
        }
    }
}

/// Searches until `promise` is broken. Fails if it never is: then the search could not detect such a mistake in the
/// right protocol either.
pub(crate) fn breaks(promise: &'static str, protocol: impl Searched) {
    // With one thread, the path is almost a shortest one: breadth-first search keeps the last of its first block of
    // states.
    let found = search(protocol, HasDiscoveries::AnyOf(BTreeSet::from([promise])), 1);
    let broken = found.iter().find(|(name, _)| *name == promise);
    let (_, steps) = broken.unwrap_or_else(|| panic!("{promise} – not broken"));
    println!("{promise} – broken by\n  {steps}");
}

/// The properties that the search decided, each with the steps that lead there.
fn search(protocol: impl Searched, until: HasDiscoveries, threads: usize) -> Vec<(&'static str, String)> {
    let started = Instant::now();
    let search = protocol.checker().threads(threads).finish_when(until).spawn_bfs().join();
    let (states, seconds) = (search.unique_state_count(), started.elapsed().as_secs_f32());
    // The test harness captures `eprintln!` and shows it for failed tests only.
    let _ = writeln!(std::io::stderr(), "model: {states} states in {seconds:.1} s: {protocol:?}");
    search.discoveries().into_iter().map(|(name, path)| (name, in_lines(path))).collect()
}

fn in_lines<S, A: Debug>(path: Path<S, A>) -> String {
    let steps: Vec<_> = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
    steps.join("\n  ")
}
