//! Copies of messages, as an operator or a second writer adds them: no room is handed out twice, on however many
//! instances, each conflict is counted, and no create fails because of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::Matching;
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::support::{
    Cases, Clocks, Conflicts, Instance, Ledger, Outcome, POOL_QUEUE, RECORDS, Settings, World, alone, report,
};

const ROOMS: usize = 120;
const CALLERS: usize = 16;

/// Rooms that are handed out before copies of all messages are added again, and in all. The others may be abandoned: an
/// instance may still rely on a lease that has ended.
const ROOMS_BEFORE: usize = ROOMS / 3;
const ROOMS_IN_ALL: usize = ROOMS / 3 * 2;

const SOME_MINUTES: Duration = Duration::from_mins(7);

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
    let conflicts = Conflicts::watch();
    let (world, clocks) = (World::start().await, Clocks::default());
    let settings = Settings::without_limits(&world)
        .set("POOL_TARGET_SIZE", ROOMS)
        // Longer than the proof: a refill adds no rooms that have one message.
        .set("POOL_READY_DELAY_SECONDS", 20_000)
        .set("POOL_PREFETCH", 2)
        .set("POOL_LEASE_SECONDS", 5);
    let start = || Instance::start(&world, &settings, clocks.of_an_instance());
    // The queue gives its messages in their order. The first ones are hidden and the copies of a room stand next to each
    // other, so that instances have the same room at the same time.
    let prefill = Instance::start(&world, &settings.clone().set("POOL_PREFETCH", 0), clocks.of_an_instance());
    prefill.run_maintenance().await;
    drop(prefill);
    let names: Vec<_> = world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    assert_eq!(names.len(), ROOMS);
    let copy_all = || {
        for (number, name) in names.iter().enumerate() {
            for _ in 0..(2 + number % 2) {
                world.queue.put(POOL_QUEUE, name);
            }
        }
    };
    copy_all();
    let instances: Vec<_> = (0..instances).map(|_| start()).collect();
    let (ledger, cases, taken) = (Ledger::default(), Cases::default(), AtomicUsize::new(0));
    let started = Instant::now();
    let call = async |caller: usize, enough: usize| {
        while taken.load(Ordering::Relaxed) < enough {
            assert!(started.elapsed() < LOAD_LIMIT, "{}", ledger.figures());
            let case = cases.next();
            let outcome = instances[caller % instances.len()].create(case).await;
            ledger.enter(&world, case, &outcome);
            if let Outcome::Room { name, from_pool: true, .. } = outcome {
                taken.fetch_add(1, Ordering::Relaxed);
                // A copy that comes after the hand-out.
                world.queue.put(POOL_QUEUE, &name);
            } else if caller == 0 {
                // The pool looks empty while copies hide its rooms: leases end. One caller ends them, or they would be
                // over before a room is claimed.
                world.queue.advance(Duration::from_secs(6));
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    join_all((0..CALLERS).map(|caller| call(caller, ROOMS_BEFORE))).await;
    // Of rooms that are ready, leased, claimed and handed out.
    clocks.advance(&world, SOME_MINUTES);
    copy_all();
    join_all((0..CALLERS).map(|caller| call(caller, ROOMS_IN_ALL))).await;

    let figures = ledger.figures();
    let claims = world.blobs.blobs(RECORDS).iter().filter(|blob| blob.name.starts_with("claims/")).count();
    let tried = world.blobs.traffic().count(&Matching::method(Method::PUT).path_contains("/claims%2F"));
    let [claimed_before, message_gone] =
        ["claimed_before", "message_gone"].map(|reason| conflicts.count(reason, &names));
    report(
        "copies",
        &format!(
            "{} instances: {figures}; {tried} claims tried, {claims} made; conflicts: {claimed_before} claimed before, \
             {message_gone} with a message that was gone",
            instances.len()
        ),
    );
    ledger.assert_every_room_is_one_citizens(&world);
    assert!(figures.refused.is_empty(), "creates that failed because of copies: {figures}");
    assert!(claimed_before > 0, "no two instances tried one room");
    // A make whose answer comes too late is repeated after a read.
    if world.blobs.traffic().count(&Matching::method(Method::GET).path_contains("/claims%2F")) == 0 {
        assert_eq!(tried - claims, claimed_before, "each conflict is counted once");
        assert_eq!(claims - figures.from_pool, message_gone, "each conflict is counted once");
    }
}
