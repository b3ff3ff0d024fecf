//! Callers who do not wait: they come by the thousand and hang up wherever their create is by then.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::support::{
    Caller, Cases, Clocks, Dice, Ledger, Outcome, POOL_QUEUE, Served, Settings, Storm, Trouble, World, alone,
    eventually, is_full, let_everything_age, report,
};

const CALLERS: usize = 16;
const LONGEST_PATIENCE_MILLISECONDS: u64 = 50;

const TARGET: usize = 40;
const CALLS_IN_FLIGHT: usize = 16;

/// An instance puts no more rooms at stake at a time, so no more are tagged at once.
const ROOMS_AT_STAKE: usize = 4;

fn settings(world: &World) -> Settings {
    Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", TARGET)
        .set("POOL_PREFETCH", 4)
        .set("POOL_DIRECT_MAX", CALLS_IN_FLIGHT)
        .set("PEXIP_MAX_IN_FLIGHT", CALLS_IN_FLIGHT)
        .set("MAX_CONCURRENT_REQUESTS", 2 * CALLERS)
        .set("REQUEST_DEADLINE_SECONDS", 12)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("ROOM_MAX_LIFETIME_SECONDS", 40_000)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 3600)
}

/// Some calls take about as long as the callers wait.
fn slowness(world: &World) -> Vec<Trouble> {
    let slow = || [2, 5, 10, 20, 40].map(|ms| Fault::Slow(Duration::from_millis(ms))).to_vec();
    let of = |traffic: &Traffic, method| Trouble::with(traffic, Matching::method(method), slow());
    let (queue, pexip) = (world.queue.traffic(), world.pexip.traffic());
    vec![
        of(queue, Method::GET),
        of(queue, Method::POST),
        of(queue, Method::DELETE),
        of(pexip, Method::GET),
        of(pexip, Method::POST),
        of(pexip, Method::PATCH),
        of(pexip, Method::DELETE),
    ]
}

struct Proof {
    world: World,
    instances: Vec<Served>,
    caller: Caller,
    ledger: Ledger,
    cases: Cases,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_at_any_moment_leave_neither_rooms_nor_taken_places() {
    let _machine = alone().await;
    let started = Instant::now();
    let mut dice = Dice::throw("hang_up");
    let requests = if is_full() { 30_000 } else { 3_000 };
    let world = World::start().await;
    let proof = Proof {
        instances: vec![Served::start(&settings(&world)).await, Served::start(&settings(&world)).await],
        caller: Caller::of(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
    };
    proof.caller.run_maintenance(&proof.instances[0].url).await.expect("an answer");

    let storm = Storm::over(&proof.world, slowness(&proof.world), 3, dice.for_one_more());
    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    join_all(callers.into_iter().map(|dice| proof.come_and_go(requests / CALLERS, dice))).await;
    let past = storm.end();
    proof.becomes_quiet().await;

    let figures = proof.ledger.figures();
    report("hang_up", &format!("{figures}; {past}"));
    assert!(figures.no_answer > requests / 4, "hardly anybody has hung up: {figures}");
    let full = async || proof.world.queue.messages(POOL_QUEUE).len() >= TARGET;
    let after = eventually("the pool is full again without the timer", full).await;
    assert!(proof.world.queue.messages(POOL_QUEUE).len() <= TARGET + CALLS_IN_FLIGHT, "more rooms than were taken");
    proof.every_place_can_be_taken().await;

    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
    let Proof { world, instances, ledger, cases, .. } = proof;
    drop(instances);
    sleep(Duration::from_secs(1)).await;
    let stock = let_everything_age(&world, &settings(&world), &Clocks::default(), &ledger, &cases);
    // Each room whose caller had gone was to be destroyed at once. What is left to the sweep are the answers that were
    // written when the caller hung up before reading them: that nobody can know.
    let (left, for_nobody) = (stock.unknown.len() + stock.orphans.len(), past.tags.saturating_sub(figures.rooms));
    assert!(left <= for_nobody / 2, "of {for_nobody} rooms tagged for nobody so many were left to the sweep: {stock}");
    report("hang_up", &format!("{stock}; full again after {after:.1?}; all in {:.1?}", started.elapsed()));
    assert!(past.tags > requests / 10, "hardly anybody has got as far as a room: {past}");
}

impl Proof {
    async fn come_and_go(&self, times: usize, mut dice: Dice) {
        for _ in 0..times {
            let case = self.cases.next();
            let patience = dice.milliseconds(0, LONGEST_PATIENCE_MILLISECONDS);
            let service = &dice.one_of(&self.instances).url;
            let outcome = self.caller.create_within(patience, service, case).await;
            self.ledger.enter(&self.world, case, &outcome);
        }
    }

    /// Whatever was begun for callers who are gone has come to its end.
    async fn becomes_quiet(&self) {
        let traffics = [self.world.queue.traffic(), self.world.pexip.traffic()];
        let quiet = async || {
            for traffic in traffics {
                traffic.clear();
            }
            sleep(Duration::from_secs(1)).await;
            traffics.iter().all(|traffic| traffic.count(&Matching::any()) == 0)
        };
        eventually("nothing is done any more", quiet).await;
    }

    /// As many creates as there are places are at the node at the same moment, with rooms from the pool and, without
    /// the queue, with rooms made directly.
    async fn every_place_can_be_taken(&self) {
        for place in 0..self.instances.len() {
            self.world.pexip.traffic().clear();
            let from_pool = self.create_at_once(place, Method::PATCH, ROOMS_AT_STAKE).await;
            assert!(from_pool.iter().all(|outcome| is_room(outcome, true)), "{from_pool:?}");
            let full = async || self.world.queue.messages(POOL_QUEUE).len() >= TARGET;
            eventually("the pool is full again", full).await;
        }
        self.world.queue.stop().await;
        for place in 0..self.instances.len() {
            self.becomes_quiet().await;
            let direct = self.create_at_once(place, Method::POST, CALLS_IN_FLIGHT).await;
            assert!(direct.iter().all(|outcome| is_room(outcome, false)), "{direct:?}");
        }
        self.world.queue.restart().await;
    }

    /// Lets nobody go on before `number` of these calls are at the node.
    async fn create_at_once(&self, place: usize, method: Method, number: usize) -> Vec<Outcome> {
        let (traffic, calls) = (self.world.pexip.traffic(), Matching::method(method));
        traffic.inject(calls.clone(), Times::Always, Fault::Stall);
        let creates = join_all((0..CALLS_IN_FLIGHT).map(|_| self.create(place)));
        let healing = async {
            eventually("they are at the node at once", async || traffic.count(&calls) == number).await;
            // A call is in the log a moment before it stalls, and one healing would pass it by.
            loop {
                traffic.heal();
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            outcomes = creates => outcomes,
            never = healing => never,
        }
    }

    async fn create(&self, place: usize) -> Outcome {
        let case = self.cases.next();
        let outcome = self.caller.create(&self.instances[place].url, case).await;
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }
}

fn is_room(outcome: &Outcome, pooled: bool) -> bool {
    matches!(outcome, Outcome::Room { from_pool, .. } if *from_pool == pooled)
}
