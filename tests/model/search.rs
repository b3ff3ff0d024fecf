use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::protocol::{Protocol, Scope, Wrong};

/// Searches all that can happen in `scope`. Fails where a promise is broken, and where what should be reached is not.
pub(crate) fn holds(scope: Scope) {
    let protocol = Protocol { scope, wrong: None };
    let found = search(protocol, HasDiscoveries::AnyFailures);
    for property in protocol.properties() {
        match (property.expectation, found.iter().find(|(name, _)| *name == property.name)) {
            (Expectation::Sometimes, None) => panic!("never reached: {}", property.name),
            (Expectation::Always, Some((promise, steps))) => panic!("{promise} – broken by\n{}", steps.join("\n")),
            _ => {}
        }
    }
}

/// Searches `scope` with one thing done `wrong` until `promise` is broken. Fails if it never is: the search would not
/// see this mistake in the service either.
pub(crate) fn breaks(promise: &'static str, wrong: impl Into<Option<Wrong>>, scope: Scope) {
    let found = search(Protocol { scope, wrong: wrong.into() }, HasDiscoveries::AnyOf(BTreeSet::from([promise])));
    let Some((_, steps)) = found.into_iter().find(|(name, _)| *name == promise) else {
        panic!("{promise} – not broken");
    };
    println!("{promise} – broken by\n  {}", steps.join("\n  "));
}

/// What the search came upon, and how.
fn search(protocol: Protocol, until: HasDiscoveries) -> Vec<(&'static str, Vec<String>)> {
    let started = Instant::now();
    let search = protocol.checker().threads(2).finish_when(until).spawn_bfs().join();
    println!(
        "{:?} in {:?}: {} states, {} steps, {:.1} s",
        protocol.wrong,
        protocol.scope,
        search.unique_state_count(),
        search.state_count(),
        started.elapsed().as_secs_f32()
    );
    let steps = |path: stateright::Path<_, _>| path.into_actions().iter().map(|step| format!("{step:?}")).collect();
    search.discoveries().into_iter().map(|(name, path)| (name, steps(path))).collect()
}
