//! Allocations of one request, with all the work that it leaves behind: the median of several, because a timer may fall
//! into one of them.

use maxconf_simulators::World;

use crate::support::{Bound, Callers, Pool, Service, instant};

const REQUESTS: usize = 25;

/// Requests before the first one that counts: connections and caches are there then.
const WARM_UP: usize = 5;

/// The bound of a count that is the same in every run. A layer of middleware makes eleven allocations or more for each request;
/// a call to storage makes seven or eight more where `RUST_BACKTRACE` is set.
const fn exactly(count: u64) -> Bound {
    Bound { most: count + 10, slack: 20 }
}

const OF_THE_MIDDLEWARE: Bound = exactly(48);
const OF_A_READ: Bound = exactly(199);
const OF_AN_INSTANT_CREATE: Bound = exactly(389);
const OF_A_LOOK_UP: Bound = exactly(326);

/// Up to ten calls, whose answers differ in length. The middleware before them is that of an instant create.
const OF_A_CREATE: Bound = Bound { most: 1500, slack: 12 };

async fn median(service: &Service, request: impl AsyncFn()) -> u64 {
    for _ in 0..WARM_UP {
        service.during(request()).await;
    }
    let mut counts = Vec::new();
    for _ in 0..REQUESTS {
        counts.push(service.during(request()).await.1);
    }
    counts.sort_unstable();
    counts[REQUESTS / 2]
}

#[tokio::test]
async fn no_allocation_is_added_to_rooms_of_the_pool() {
    let world = World::start().await;
    let pool = Pool::fill(&world);
    let service = Service::start(&pool.settings()).await;
    let callers = Callers::new(&world, service.url.clone());
    service.during(pool.wait_until_ready()).await;

    let live = median(&service, async || callers.read_liveness().await).await;
    let create = median(&service, async || pool.create(&callers).await).await;
    let (name, _) = service.during(callers.create()).await;
    let read = median(&service, async || callers.read(&name).await).await;

    OF_THE_MIDDLEWARE.check("allocations of a request that only passes the middleware", live);
    OF_A_CREATE.check("allocations of a create", create);
    OF_A_READ.check("allocations of a read", read);
}

#[tokio::test]
async fn no_allocation_is_added_to_instant_rooms() {
    let world = World::start().await;
    let service = Service::start(&instant(&world)).await;
    let callers = Callers::new(&world, service.url.clone());

    let create = median(&service, async || drop(callers.create().await)).await;
    let (name, _) = service.during(callers.create()).await;
    let look_up = median(&service, async || callers.look_up(&name).await).await;

    OF_AN_INSTANT_CREATE.check("allocations of an instant create", create);
    OF_A_LOOK_UP.check("allocations of a look-up", look_up);
}
