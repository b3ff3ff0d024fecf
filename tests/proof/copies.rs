//! Copies of messages, as an operator or a second writer adds them: no room is handed out twice, on however many
//! instances, and no create fails because of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::Matching;
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::support::{Cases, Clocks, Instance, Ledger, Outcome, POOL_QUEUE, Settings, World, alone, report};

const ROOMS: usize = 120;
const CALLERS: usize = 16;

/// Limit of the load. Copies hide rooms, which takes longer the slower the machine is.
const LOAD_LIMIT: Duration = Duration::from_mins(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_no_room_however_many_messages_name_it() {
    copies_give_no_room_twice(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_instances_share_no_room_however_many_messages_name_it() {
    copies_give_no_room_twice(8).await;
}

async fn copies_give_no_room_twice(instances: usize) {
    let _machine = alone().await;
    let world = World::start().await;
    // Nobody is answered with a direct room: while rooms are left, a conflict must not make a create fail.
    let settings = Settings::without_limits(&world)
        .set("POOL_TARGET_SIZE", ROOMS)
        .set("POOL_PREFETCH", 2)
        .set("POOL_LEASE_SECONDS", 5)
        .set("POOL_EMPTY", "refuse");
    let start = || Instance::start(&world, &settings, Clocks::default().of_an_instance());
    // The queue gives its messages in their order. The first ones are hidden and the copies of a room stand next to each
    // other, so that instances have the same room at the same time.
    let hiding = settings.clone().set("POOL_PREFETCH", 0).set("POOL_READY_DELAY_SECONDS", 3600);
    let prefill = Instance::start(&world, &hiding, Clocks::default().of_an_instance());
    prefill.run_maintenance().await;
    drop(prefill);
    let names: Vec<_> = world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    assert_eq!(names.len(), ROOMS);
    for (number, name) in names.iter().enumerate() {
        for _ in 0..(2 + number % 2) {
            world.queue.put(POOL_QUEUE, name);
        }
    }
    let instances: Vec<_> = (0..instances).map(|_| start()).collect();
    let (ledger, cases, taken) = (Ledger::default(), Cases::default(), AtomicUsize::new(0));
    let started = Instant::now();
    let call = async |caller: usize| {
        while taken.load(Ordering::Relaxed) < ROOMS / 2 {
            assert!(started.elapsed() < LOAD_LIMIT, "{}", ledger.figures());
            let case = cases.next();
            let outcome = instances[caller % instances.len()].create(case).await;
            ledger.enter(&world, case, &outcome);
            if let Outcome::Room { name, .. } = outcome {
                taken.fetch_add(1, Ordering::Relaxed);
                // A copy that comes after the hand-out.
                world.queue.put(POOL_QUEUE, &name);
            } else {
                // The pool looks empty while copies hide its rooms: leases end. One caller ends them, or they would be
                // over before a room is claimed.
                if caller == 0 {
                    world.queue.advance(Duration::from_secs(6));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    join_all((0..CALLERS).map(call)).await;

    let figures = ledger.figures();
    let claims = world.blobs.blobs("room-records").iter().filter(|blob| blob.name.starts_with("claims/")).count();
    let tried = world.blobs.traffic().count(&Matching::method(Method::PUT).path_contains("/claims%2F"));
    report("copies", &format!("{} instances: {figures}; {claims} claims, {tried} tried", instances.len()));
    ledger.assert_every_room_is_one_citizens(&world);
    assert!(claims >= figures.rooms, "a hand-out without a record");
    assert!(tried > claims, "no two instances tried one room");
}
