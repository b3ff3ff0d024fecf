//! Many instances at once: a cold start, a burst, and a queue full of messages that name no room.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Cases, Clocks, Dice, Instance, LIMIT, Ledger, Outcome, POOL_QUEUE, Settings, World, alone, eventually, report,
};

const INSTANCES: usize = 8;

struct Proof {
    world: World,
    instances: Vec<Instance>,
    ledger: Ledger,
    cases: Cases,
}

impl Proof {
    fn start(world: World, instances: usize, settings: &Settings) -> Self {
        let clock = || Clocks::default().of_an_instance();
        let instances = (0..instances).map(|_| Instance::start(&world, settings, clock())).collect();
        Self { world, instances, ledger: Ledger::default(), cases: Cases::default() }
    }

    async fn create(&self, instance: usize) -> Outcome {
        let case = self.cases.next();
        let outcome = self.instances[instance].create(case).await;
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }

    fn messages(&self) -> usize {
        self.world.queue.messages(POOL_QUEUE).len()
    }

    fn untagged(&self) -> usize {
        self.world.pexip.rooms().iter().filter(|room| room.tag.is_empty()).count()
    }

    /// The most rooms without a tag, whether in the pool or between pool and caller, while `work` was done.
    async fn most_untagged_during<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let mut most = 0;
        let mut work = std::pin::pin!(work);
        loop {
            let done = timeout(Duration::from_millis(3), &mut work).await;
            most = most.max(self.untagged());
            if let Ok(done) = done {
                return (done, most);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_instances_and_one_timer_make_no_more_rooms_than_are_missing() {
    const TARGET: usize = 40;
    const CALLERS: usize = 16;
    const CREATES: usize = 500;
    const FROM_POOL: usize = 50;

    let _machine = alone().await;
    let world = World::start().await;
    let settings = Settings::without_limits(&world).set("POOL_TARGET_SIZE", TARGET).set("PEXIP_MAX_IN_FLIGHT", 5);
    let proof = Proof::start(world, INSTANCES, &settings);
    let started = Instant::now();
    let has_enough = || {
        let figures = proof.ledger.figures();
        assert!(started.elapsed() < LIMIT, "{figures}");
        figures.rooms >= CREATES && figures.from_pool >= FROM_POOL
    };
    let call = async |caller: usize| {
        while !has_enough() {
            if let Outcome::Room { name, .. } = proof.create(caller % INSTANCES).await {
                proof.world.pexip.remove(&name);
            }
        }
    };

    let calls = async { tokio::join!(join_all((0..CALLERS).map(call)), proof.instances[0].run_maintenance()) };
    let (_, most) = proof.most_untagged_during(calls).await;

    let figures = proof.ledger.figures();
    let took = started.elapsed();
    report(
        "scale_out",
        &format!("cold start: {figures} in {took:.1?}; at most {most} untagged for a target of {TARGET}"),
    );
    assert!(most <= TARGET + CALLERS, "{most} untagged rooms");
    let is_full = async || (proof.messages(), proof.untagged()) == (TARGET, TARGET);
    eventually("the pool is full, and every untagged room is in it", is_full).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!((proof.messages(), proof.untagged()), (TARGET, TARGET), "the pool stays full");
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_a_small_pool_is_answered_with_rooms_or_typed_refusals() {
    const TARGET: usize = 50;
    const BURST: usize = 200;
    const READY_DELAY: Duration = Duration::from_secs(90);
    const CALL: Duration = Duration::from_millis(30);

    let _machine = alone().await;
    let mut dice = Dice::throw("scale_out burst");
    let world = World::start().await;
    // Everything else at its default: what is taken from the pool is not back before the burst is over, and a burst
    // meets the request budget and the few call permits.
    let settings = Settings::of(&world)
        .set("POOL_READY_DELAY_SECONDS", READY_DELAY.as_secs())
        .set("POOL_TARGET_SIZE", TARGET)
        // Longer than the burst lasts on a busy machine: 504 is no outcome here.
        .set("REQUEST_DEADLINE_SECONDS", 110)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 60);
    let proof = Proof::start(world, INSTANCES, &settings);
    proof.instances[0].run_maintenance().await;
    assert_eq!(proof.messages(), TARGET);
    proof.world.queue.advance(READY_DELAY);
    proof.world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(CALL));
    let arrivals: Vec<_> = (0..BURST).map(|_| (dice.milliseconds(0, 1000), dice.below(INSTANCES))).collect();

    let burst = join_all(arrivals.into_iter().map(async |(arrival, instance)| {
        sleep(arrival).await;
        timeout(LIMIT, proof.create(instance)).await.expect("every create is answered")
    }));
    let timer = async {
        sleep(Duration::from_millis(500)).await;
        proof.instances[0].run_maintenance().await
    };
    let started = Instant::now();
    let ((answers, _), most) = proof.most_untagged_during(async { tokio::join!(burst, timer) }).await;

    let (figures, took) = (proof.ledger.figures(), started.elapsed());
    report("scale_out", &format!("burst: {figures}; at most {most} untagged rooms, over after {took:.1?}"));
    for outcome in &answers {
        assert!(matches!(outcome, Outcome::Room { .. } | Outcome::Refused { status: 503, .. }), "{outcome:?}");
    }
    assert!(figures.from_pool == TARGET, "rooms of the pool were left: {figures}");
    assert!(
        most <= 2 * TARGET,
        "{most} untagged rooms: more than the timer and the refills of single rooms could see missing"
    );
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_and_dead_messages_before_good_ones_delay_no_caller() {
    for instances in [1, INSTANCES] {
        poison_and_dead_messages_delay_no_caller_at(instances).await;
    }
}

/// One citizen after the other, so that one request always waits.
async fn poison_and_dead_messages_delay_no_caller_at(instances: usize) {
    const POISON: usize = 300;
    const DEAD: usize = 60;
    const GOOD: usize = 40;
    /// The service's default: the smallest batch that an instance receives while its prefetch is empty.
    const PREFETCH: usize = 4;

    let _machine = alone().await;
    let world = World::start().await;
    for number in 0..POISON {
        world.queue.put(POOL_QUEUE, &format!("poison {number}"));
    }
    for number in 0..DEAD {
        world.queue.put(POOL_QUEUE, &format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}"));
    }
    // A lease that outlasts the proof: no message is received twice.
    let settings = Settings::of(&world).set("POOL_TARGET_SIZE", GOOD).set("POOL_LEASE_SECONDS", 600);
    let prefill =
        Instance::start(&world, &settings.clone().set("POOL_PREFETCH", 0), Clocks::default().of_an_instance());
    prefill.run_maintenance().await;
    drop(prefill);
    let proof = Proof::start(world, instances, &settings);

    let receive = Matching::method(Method::GET).path_contains("/messages");
    let (started, mut direct, mut from_pool, mut receives) = (Instant::now(), 0, 0, 0);
    while from_pool < GOOD / 2 {
        // The service pauses for up to four seconds between batches without a room.
        assert!(started.elapsed() < 4 * LIMIT, "{}", proof.ledger.figures());
        match proof.create((direct + from_pool) % instances).await {
            Outcome::Room { from_pool: true, .. } => {
                if from_pool == 0 {
                    receives = proof.world.queue.traffic().count(&receive);
                }
                from_pool += 1;
            }
            Outcome::Room { from_pool: false, .. } => direct += 1,
            refused => panic!("{refused:?}"),
        }
    }
    let took = started.elapsed();

    let figures = proof.ledger.figures();
    report(
        "scale_out",
        &format!(
            "poison in front of {instances}: {figures}; {direct} direct, {from_pool} pooled in {took:.1?}; {receives} receives before the first"
        ),
    );
    // Each message before the good ones is received once, batch by batch.
    let batches = (POISON + DEAD + GOOD) / PREFETCH + 4 * instances;
    assert!(receives <= batches, "{receives} receives for {batches} batches");
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}
