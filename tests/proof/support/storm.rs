use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Dice, World};

/// Interval at which calls are counted and faults are injected.
const INTERVAL: Duration = Duration::from_millis(5);

/// Calls to a simulated system, and the ways in which one of them may fail.
pub(crate) struct Trouble {
    traffic: Traffic,
    calls: Matching,
    faults: Vec<Fault>,
    seen: usize,
    next_at: usize,
}

impl Trouble {
    pub(crate) fn with(traffic: &Traffic, calls: Matching, faults: Vec<Fault>) -> Self {
        Self { traffic: traffic.clone(), calls, faults, seen: 0, next_at: 0 }
    }
}

/// Injects faults for a share of the calls, so that they do not pile up while few calls are made.
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

/// What a storm did and saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    faults: usize,
    tags: usize,
}

impl Storm {
    /// Injects a fault for one of `every` calls on average. Empties the logs of the traffic as it goes.
    pub(crate) fn over(world: &World, mut troubles: Vec<Trouble>, every: usize, mut dice: Dice) -> Self {
        let over = vec![world.queue.traffic().clone(), world.pexip.traffic().clone()];
        let (counts, logs) = (Arc::new(Counts::default()), over.clone());
        let counted = Arc::clone(&counts);
        let injecting = tokio::spawn(async move {
            loop {
                sleep(INTERVAL).await;
                for trouble in &mut troubles {
                    trouble.seen += trouble.traffic.count(&trouble.calls);
                    if trouble.seen >= trouble.next_at {
                        trouble.next_at = trouble.seen + dice.below(2 * every);
                        let fault = dice.one_of(&trouble.faults).clone();
                        trouble.traffic.inject(trouble.calls.clone(), Times::Once, fault);
                        counted.faults.fetch_add(1, Ordering::Relaxed);
                    }
                }
                for log in &logs {
                    counted.tags.fetch_add(log.count(&Matching::method(Method::PATCH)), Ordering::Relaxed);
                    log.clear();
                }
            }
        });
        Self { injecting, over, counts }
    }

    /// How often instances have asked the node to write a tag, so far.
    pub(crate) fn tags(&self) -> usize {
        self.counts.tags.load(Ordering::Relaxed)
    }

    /// Ends it; faults that have met no call are removed.
    pub(crate) fn end(self) -> Past {
        self.injecting.abort();
        let (faults, tags) = (self.counts.faults.load(Ordering::Relaxed), self.tags());
        for traffic in self.over {
            traffic.heal();
        }
        Past { faults, tags }
    }
}

impl fmt::Display for Past {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} faults while {} tags were written", self.faults, self.tags)
    }
}
