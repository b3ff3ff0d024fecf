use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::protocol::{Protocol, Scope, Wrong};
use crate::step::Step;
use crate::world::World;

/// Searches all that can happen in `scope`. Fails where a promise is broken, and where what should be reached is not.
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

/// Searches `scope` with one thing done `wrong` until `promise` is broken. Fails if it never is: the search would not
/// see a mistake of this kind in the protocol either.
pub(crate) fn breaks(promise: &'static str, wrong: Wrong, scope: Scope) {
    must_break(promise, Protocol { scope, wrong: Some(wrong) });
}

/// The same with nothing done wrong: the world is worse than assumed.
pub(crate) fn breaks_by_itself(promise: &'static str, scope: Scope) {
    must_break(promise, Protocol { scope, wrong: None });
}

fn must_break(promise: &'static str, protocol: Protocol) {
    // With one thread the first way that is found is a shortest one.
    let found = search(protocol, HasDiscoveries::AnyOf(BTreeSet::from([promise])), 1);
    let broken = found.iter().find(|(name, _)| *name == promise);
    let (_, steps) = broken.unwrap_or_else(|| panic!("{promise} – not broken"));
    println!("{promise} – broken by\n  {steps}");
}

/// What the search came upon, and by which steps.
fn search(protocol: Protocol, until: HasDiscoveries, threads: usize) -> Vec<(&'static str, String)> {
    let Protocol { scope, wrong } = protocol;
    let started = Instant::now();
    let search = protocol.checker().threads(threads).finish_when(until).spawn_bfs().join();
    let (states, seconds) = (search.unique_state_count(), started.elapsed().as_secs_f32());
    let mistake = wrong.map_or("Right".to_owned(), |wrong| format!("{wrong:?}"));
    // Not by `eprintln!`: its text is only shown for tests that fail.
    let _ = writeln!(std::io::stderr(), "model: {states} states in {seconds:.1} s: {mistake} in {scope:?}");
    search.discoveries().into_iter().map(|(name, path)| (name, in_lines(path))).collect()
}

fn in_lines(path: Path<World, Step>) -> String {
    let steps: Vec<_> = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
    steps.join("\n  ")
}
