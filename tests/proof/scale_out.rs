//! Many instances at once: a cold start, a burst, and a queue full of what is no room.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Cases, Clocks, Dice, Instance, Ledger, Outcome, POOL_QUEUE, Settings, World, alone, eventually, report,
};

const INSTANCES: usize = 8;

/// Citizens who get no room of the pool because of what lies in front of it.
const MOST_DIRECT_BEFORE_THE_POOL: usize = 10;

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

    fn tickets(&self) -> usize {
        self.world.queue.messages(POOL_QUEUE).len()
    }

    fn untagged(&self) -> usize {
        self.world.pexip.rooms().iter().filter(|room| room.tag.is_empty()).count()
    }

    /// The most rooms that were in the pool or on their way through it while `work` was done.
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

    let _machine = alone().await;
    let world = World::start().await;
    let settings = Settings::without_limits(&world).set("POOL_TARGET_SIZE", TARGET).set("PEXIP_MAX_IN_FLIGHT", 5);
    let proof = Proof::start(world, INSTANCES, &settings);
    let until = Instant::now() + Duration::from_secs(4);
    let call = async |caller: usize| {
        while Instant::now() < until {
            if let Outcome::Room { name, .. } = proof.create(caller % INSTANCES).await {
                proof.world.pexip.remove(&name);
            }
        }
    };

    let calls = async { tokio::join!(join_all((0..CALLERS).map(call)), proof.instances[0].run_maintenance()) };
    let (_, most) = proof.most_untagged_during(calls).await;

    let figures = proof.ledger.figures();
    report("scale_out", &format!("cold start: {figures}; at most {most} untagged rooms for a target of {TARGET}"));
    assert!(most <= TARGET + CALLERS, "{most} untagged rooms");
    assert!(figures.from_pool > 0, "{figures}");
    eventually("the pool is full", async || proof.tickets() >= TARGET).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!((proof.tickets(), proof.untagged()), (TARGET, TARGET));
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_a_small_pool_is_answered_in_time_with_rooms_or_typed_refusals() {
    const TARGET: usize = 50;
    const BURST: usize = 200;
    const DEADLINE: Duration = Duration::from_secs(8);
    const READY_DELAY: Duration = Duration::from_secs(90);
    const CALL: Duration = Duration::from_millis(30);

    let _machine = alone().await;
    let mut dice = Dice::throw("scale_out burst");
    let world = World::start().await;
    // Everything else at its default: what is taken from the pool is not back before the burst is over, and a burst
    // meets the budget and the few places at the node.
    let settings = Settings::of(&world)
        .set("POOL_READY_DELAY_SECONDS", READY_DELAY.as_secs())
        .set("POOL_TARGET_SIZE", TARGET)
        .set("REQUEST_DEADLINE_SECONDS", DEADLINE.as_secs())
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 4);
    let proof = Proof::start(world, INSTANCES, &settings);
    proof.instances[0].run_maintenance().await;
    assert_eq!(proof.tickets(), TARGET);
    proof.world.queue.advance(READY_DELAY);
    proof.world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(CALL));
    let arrivals: Vec<_> = (0..BURST).map(|_| (dice.milliseconds(0, 1000), dice.below(INSTANCES))).collect();

    let burst = join_all(arrivals.into_iter().map(async |(arrival, instance)| {
        sleep(arrival).await;
        let asked = Instant::now();
        (proof.create(instance).await, asked.elapsed())
    }));
    let timer = async {
        sleep(Duration::from_millis(500)).await;
        proof.instances[0].run_maintenance().await
    };
    let (((answers, _), most), took) = {
        let started = Instant::now();
        (proof.most_untagged_during(async { tokio::join!(burst, timer) }).await, started.elapsed())
    };

    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let figures = proof.ledger.figures();
    report(
        "scale_out",
        &format!("burst: {figures}; slowest {slowest:.1?}, at most {most} untagged rooms, over after {took:.1?}"),
    );
    for (outcome, took) in &answers {
        assert!(matches!(outcome, Outcome::Room { .. } | Outcome::Refused { status: 503, .. }), "{outcome:?}");
        assert!(*took < DEADLINE, "{outcome:?} after {took:?}");
    }
    assert!(figures.from_pool == TARGET, "rooms of the pool were left: {figures}");
    assert!(
        most <= 2 * TARGET,
        "{most} untagged rooms: more than the timer and those who owed a room could see missing"
    );
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junk_and_dead_names_in_front_of_good_ones_starve_nobody() {
    for instances in [1, INSTANCES] {
        junk_and_dead_names_in_front_of_good_ones_starve_nobody_at(instances).await;
    }
}

/// One citizen after the other, so that somebody waits all the time.
async fn junk_and_dead_names_in_front_of_good_ones_starve_nobody_at(instances: usize) {
    const JUNK: usize = 1000;
    const DEAD: usize = 60;
    const GOOD: usize = 40;

    let _machine = alone().await;
    let world = World::start().await;
    for number in 0..JUNK {
        world.queue.put(POOL_QUEUE, &format!("junk {number}"));
    }
    for number in 0..DEAD {
        world.queue.put(POOL_QUEUE, &format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}"));
    }
    let settings = Settings::of(&world).set("POOL_TARGET_SIZE", GOOD);
    let prefill =
        Instance::start(&world, &settings.clone().set("POOL_PREFETCH", 0), Clocks::default().of_an_instance());
    prefill.run_maintenance().await;
    drop(prefill);
    let proof = Proof::start(world, instances, &settings);

    let (started, mut before_the_first, mut in_a_row) = (Instant::now(), 0, 0);
    while in_a_row < GOOD / 2 {
        match proof.create((before_the_first + in_a_row) % instances).await {
            Outcome::Room { from_pool: true, .. } => in_a_row += 1,
            Outcome::Room { from_pool: false, .. } => {
                before_the_first += 1;
                assert!(before_the_first <= MOST_DIRECT_BEFORE_THE_POOL, "{}", proof.ledger.figures());
            }
            refused => panic!("{refused:?}"),
        }
    }
    let took = started.elapsed();

    let figures = proof.ledger.figures();
    report("scale_out", &format!("junk in front of {instances}: {figures}; {in_a_row} from the pool after {took:.1?}"));
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
}
