use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::protocol::{Protocol, Scope, Wrong};
use crate::step::Step;
use crate::world::World;

/// Searches every state within `scope`. Fails if a promise is broken or a required state is never reached.
pub(crate) fn holds(scope: Scope) {
    let protocol = Protocol { scope, wrong: None };
    let found = search(protocol, HasDiscoveries::AnyFailures, 2);
    for property in protocol.properties() {
        match (property.expectation, found.iter().find(|(name, _)| *name == property.name)) {
            (Expectation::Sometimes, None) => panic!("never reached: {}", property.name),
            (Expectation::Always, Some((promise, steps))) => panic!("{promise} – broken by\n  {steps}"),
            _ => {}
        }
    }
}

/// Searches `scope` with the mistake `wrong` until `promise` is broken. Fails if it never is: then the search could not
/// detect such a mistake in the protocol either.
pub(crate) fn breaks(promise: &'static str, wrong: Wrong, scope: Scope) {
    must_break(promise, Protocol { scope, wrong: Some(wrong) });
}

/// Like `breaks`, with no mistake in the protocol: `scope` violates an assumption instead.
pub(crate) fn breaks_by_itself(promise: &'static str, scope: Scope) {
    must_break(promise, Protocol { scope, wrong: None });
}

fn must_break(promise: &'static str, protocol: Protocol) {
    // With one thread, the first path that breadth-first search finds is a shortest one.
    let found = search(protocol, HasDiscoveries::AnyOf(BTreeSet::from([promise])), 1);
    let broken = found.iter().find(|(name, _)| *name == promise);
    let (_, steps) = broken.unwrap_or_else(|| panic!("{promise} – not broken"));
    println!("{promise} – broken by\n  {steps}");
}

/// The properties that the search decided, each with the steps that lead there.
fn search(protocol: Protocol, until: HasDiscoveries, threads: usize) -> Vec<(&'static str, String)> {
    let Protocol { scope, wrong } = protocol;
    let started = Instant::now();
    let search = protocol.checker().threads(threads).finish_when(until).spawn_bfs().join();
    let (states, seconds) = (search.unique_state_count(), started.elapsed().as_secs_f32());
    let mistake = wrong.map_or("no mistake".to_owned(), |wrong| format!("{wrong:?}"));
    // The test harness captures `eprintln!` and shows it for failed tests only.
    let _ = writeln!(std::io::stderr(), "model: {states} states in {seconds:.1} s: {mistake} in {scope:?}");
    search.discoveries().into_iter().map(|(name, path)| (name, in_lines(path))).collect()
}

fn in_lines(path: Path<World, Step>) -> String {
    let steps: Vec<_> = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
    steps.join("\n  ")
}
