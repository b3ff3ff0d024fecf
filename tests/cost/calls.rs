//! Calls to other systems for one request, while few come and while many come. Requests do not wait for one another's
//! answers, so on a busy machine more of them share a call, and none makes another one.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::world::POOL_QUEUE;
use maxconf_simulators::{Fault, Matching, Times, Traffic, World};
use tokio::time::{Instant, sleep_until};

use crate::support::{Bound, Callers, Service, eventually, fill, unlimited};

/// Ready rooms: enough for all creates while their replacements are made.
const POOL: usize = 300;

/// How long the management node takes for a call.
const PEXIP: Duration = Duration::from_millis(20);

/// What requests may cost that come at a rate.
struct Rate {
    per_second: u32,
    /// Requests that are counted.
    requests: u32,
    pexip: Bound,
    storage: Bound,
}

/// Calls for 100 requests. There may be fewer: how many requests share a call depends on the machine.
const fn most(calls: u64) -> Bound {
    Bound { most: calls, slack: 100 }
}

/// At Pexip: tag, new room, look-up of the next room, every ten seconds a count. In storage: record, delete of the
/// message, new message, count of the messages before it, receive.
const CREATES: [Rate; 2] = [
    Rate { per_second: 5, requests: 20, pexip: most(310), storage: most(510) },
    Rate { per_second: 50, requests: 150, pexip: most(230), storage: most(410) },
];

/// Calls in ten seconds that timers make, whatever comes meanwhile: a count, a look-up of the prefetched rooms, probes. A
/// busy machine takes longer for the requests, and more of them fall into that time.
const OF_TIMERS: u64 = 4;

const READS: [Rate; 2] = [
    Rate { per_second: 5, requests: 20, pexip: most(100), storage: most(0) },
    Rate { per_second: 50, requests: 150, pexip: most(100), storage: most(0) },
];

/// Counts the calls of requests that come at this rate, and of the work behind them, which ends when `is_over`.
async fn count(world: &World, rate: &Rate, what: &str, request: impl AsyncFn(), is_over: impl Fn() -> bool) {
    let traffic = [world.pexip.traffic(), world.queue.traffic(), world.blobs.traffic()];
    traffic.into_iter().for_each(Traffic::clear);
    let start = Instant::now();
    let requests = (0..rate.requests).map(async |number| {
        sleep_until(start + Duration::from_secs(1) * number / rate.per_second).await;
        request().await;
    });
    join_all(requests).await;
    eventually("the work behind the answers is done", is_over).await;

    let [pexip, queue, blobs] = traffic.map(|traffic| traffic.count(&Matching::any()));
    let of_timers = OF_TIMERS * (start.elapsed().as_secs() / 10);
    let for_100 = |calls: usize| 100 * (calls as u64).saturating_sub(of_timers) / u64::from(rate.requests);
    let what = |system| format!("calls to {system} for 100 {what} at {} a second", rate.per_second);
    rate.pexip.check(&what("Pexip"), for_100(pexip));
    rate.storage.check(&what("storage"), for_100(queue + blobs));
}

/// A service with its own defaults, besides its limits, and a full pool.
async fn start() -> (World, Service, Callers) {
    let world = World::start().await;
    fill(&world, POOL);
    world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(PEXIP));
    let mut settings = unlimited(&world);
    settings.insert("POOL_TARGET_SIZE", POOL.to_string());
    let service = Service::start(&settings).await;
    let callers = Callers::new(&world, service.url.clone());
    (world, service, callers)
}

#[tokio::test]
async fn a_create_makes_no_call_more() {
    let (world, service, callers) = start().await;
    let is_full = || world.queue.messages(POOL_QUEUE).len() == POOL;
    let work = async {
        callers.create().await;
        for rate in &CREATES {
            eventually("the pool is full", is_full).await;
            count(&world, rate, "creates", async || drop(callers.create().await), is_full).await;
        }
    };
    service.during(work).await;
}

#[tokio::test]
async fn a_read_makes_one_call() {
    let (world, service, callers) = start().await;
    let work = async {
        let name = callers.create().await;
        let is_full = || world.queue.messages(POOL_QUEUE).len() == POOL;
        callers.read(&name).await;
        eventually("the work behind the create is done", is_full).await;
        for rate in &READS {
            count(&world, rate, "reads", async || callers.read(&name).await, || true).await;
        }
    };
    service.during(work).await;
}
