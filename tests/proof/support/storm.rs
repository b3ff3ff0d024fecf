use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::{Exchange, Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Dice, World};

/// Interval at which calls are counted and faults are injected.
const INTERVAL: Duration = Duration::from_millis(5);

/// Calls to a simulated system, and the faults that may be injected into them.
pub(crate) struct FaultPlan {
    traffic: Traffic,
    calls: Matching,
    faults: Vec<Fault>,
    seen: usize,
    next_at: usize,
}

impl FaultPlan {
    pub(crate) fn of(traffic: &Traffic, calls: Matching, faults: Vec<Fault>) -> Self {
        Self { traffic: traffic.clone(), calls, faults, seen: 0, next_at: 0 }
    }
}

/// Injects faults into a share of the calls, so that faults do not accumulate while there are few calls.
pub(crate) struct Storm {
    injecting: JoinHandle<()>,
    over: Vec<Traffic>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    faults: AtomicUsize,
    tags: AtomicUsize,
}

/// Totals of a storm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    faults: usize,
    tags: usize,
}

impl Storm {
    /// Injects a fault into one of `every` calls on average. Clears the traffic logs while it runs.
    pub(crate) fn over(world: &World, mut kinds: Vec<FaultPlan>, every: usize, mut dice: Dice) -> Self {
        let over = [world.queue.traffic(), world.pexip.traffic(), world.blobs.traffic()].map(Traffic::clone).to_vec();
        let (counts, logs) = (Arc::new(Counts::default()), over.clone());
        let counted = Arc::clone(&counts);
        let injecting = tokio::spawn(async move {
            loop {
                sleep(INTERVAL).await;
                for kind in &mut kinds {
                    kind.seen += kind.traffic.count(&kind.calls);
                    if kind.seen >= kind.next_at {
                        kind.next_at = kind.seen + dice.below(2 * every);
                        let fault = dice.one_of(&kind.faults).clone();
                        kind.traffic.inject(kind.calls.clone(), Times::Once, fault);
                        counted.faults.fetch_add(1, Ordering::Relaxed);
                    }
                }
                for log in &logs {
                    counted.tags.fetch_add(log.log().iter().filter(|call| writes_tag(call)).count(), Ordering::Relaxed);
                    log.clear();
                }
            }
        });
        Self { injecting, over, counts }
    }

    /// Tags that instances have written so far, to the node or in the record of a new instant room.
    pub(crate) fn tags(&self) -> usize {
        self.counts.tags.load(Ordering::Relaxed)
    }

    /// Ends the storm and removes faults that have not met a call.
    pub(crate) fn end(self) -> Past {
        self.injecting.abort();
        let (faults, tags) = (self.counts.faults.load(Ordering::Relaxed), self.tags());
        for traffic in self.over {
            traffic.heal();
        }
        Past { faults, tags }
    }
}

fn writes_tag(call: &Exchange) -> bool {
    let makes_instant_room =
        call.method == Method::PUT && call.path.contains("/instant%2F") && call.headers.contains_key("if-none-match");
    call.method == Method::PATCH || makes_instant_room
}

impl fmt::Display for Past {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} faults while {} tags were written", self.faults, self.tags)
    }
}
