use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Dice, World};

/// How often it is looked whether enough calls were made for the next fault.
const LOOK: Duration = Duration::from_millis(5);

/// Calls to a simulated system, and the ways in which one of them may go wrong.
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

/// Faults for some of the calls, a certain share of them, so that they do not pile up while few calls are made.
pub(crate) struct Storm {
    blowing: JoinHandle<()>,
    over: Vec<Traffic>,
    toll: Arc<Toll>,
}

#[derive(Debug, Default)]
struct Toll {
    faults: AtomicUsize,
    tags: AtomicUsize,
}

/// What there was of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    faults: usize,
    /// Tags that instances have asked the node to write, as often as they did.
    pub(crate) tags: usize,
}

impl Storm {
    /// A fault for one of `every` calls on average. Empties the logs of the traffic as it goes.
    pub(crate) fn over(world: &World, mut troubles: Vec<Trouble>, every: usize, mut dice: Dice) -> Self {
        let over = vec![world.queue.traffic().clone(), world.pexip.traffic().clone()];
        let (toll, logs) = (Arc::new(Toll::default()), over.clone());
        let counted = Arc::clone(&toll);
        let blowing = tokio::spawn(async move {
            loop {
                sleep(LOOK).await;
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
        Self { blowing, over, toll }
    }

    /// Ends it; what was not shown by now never is.
    pub(crate) fn end(self) -> Past {
        self.blowing.abort();
        for traffic in self.over {
            traffic.heal();
        }
        let Toll { faults, tags } = &*self.toll;
        Past { faults: faults.load(Ordering::Relaxed), tags: tags.load(Ordering::Relaxed) }
    }
}

impl fmt::Display for Past {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} faults while {} tags were written", self.faults, self.tags)
    }
}
