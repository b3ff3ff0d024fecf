//! Callers hang up at every step of a create. Neither a room tagged for one of them nor a permit stays in use, and a
//! caller with a key finds its room again.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::support::{
    Caller, Case, Cases, Clocks, Dice, FaultPlan, HangUp, Ledger, Outcome, POOL_QUEUE, Rooms, Served, Settings, Storm,
    World, alone, becomes_quiet, eventually, is_full, let_everything_age, report,
};

const CALLERS: usize = 16;

/// Concurrent requests of one instance.
const REQUESTS: usize = 2 * CALLERS;

/// The longest that callers wait, at the start; see [`Proof::adapt`].
const FIRST_LONGEST_WAIT_MICROSECONDS: usize = 50_000;

const TARGET: usize = 40;
const CALLS_IN_FLIGHT: usize = 16;

/// Rooms that one instance tags at a time: one call is left to others.
const TAG_PERMITS: usize = CALLS_IN_FLIGHT - 1;

/// Time limit after which the load counts as stuck. An idle machine takes seconds.
const LONGEST_LOAD: Duration = Duration::from_secs(20 * 60);

/// A failed destroy is retried after at most five seconds.
const LONGEST_PAUSE_OF_A_DESTROY: Duration = Duration::from_secs(6);

fn settings(world: &World, rooms: Rooms) -> Settings {
    let settings = Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", TARGET)
        .set("POOL_PREFETCH", 4)
        .set("POOL_DIRECT_MAX", CALLS_IN_FLIGHT)
        .set("PEXIP_MAX_IN_FLIGHT", CALLS_IN_FLIGHT)
        .set("MAX_CONCURRENT_REQUESTS", REQUESTS)
        // Longer than any call takes on a busy machine: only hang-ups may cost a room here.
        .set("REQUEST_DEADLINE_SECONDS", 60)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 30)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("ROOM_MAX_LIFETIME_SECONDS", 40_000)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 3600);
    settings.with_rooms(rooms)
}

/// Some calls take about as long as the callers wait.
fn slowness(world: &World) -> Vec<FaultPlan> {
    let slow = || [2, 5, 10, 20, 40].map(|ms| Fault::Slow(Duration::from_millis(ms))).to_vec();
    let of = |traffic: &Traffic, method| FaultPlan::of(traffic, Matching::method(method), slow());
    let (queue, records, pexip) = (world.queue.traffic(), world.blobs.traffic(), world.pexip.traffic());
    vec![
        of(records, Method::PUT),
        of(queue, Method::GET),
        of(queue, Method::POST),
        of(queue, Method::DELETE),
        of(pexip, Method::GET),
        of(pexip, Method::POST),
        of(pexip, Method::PATCH),
        of(pexip, Method::DELETE),
    ]
}

/// What must have happened before the load ends. Only counts: the duration depends on the machine.
struct Enough {
    requests: usize,
    /// Callers who hung up.
    hang_ups: usize,
    /// Rooms that were tagged.
    tags: usize,
    /// Rooms that were tagged for callers who had hung up.
    tags_after_hang_up: usize,
}

impl Enough {
    fn of_this_run(rooms: Rooms) -> Self {
        let requests = match rooms {
            _ if is_full() => 30_000,
            Rooms::Pool => 3_000,
            Rooms::Instant => 1_000,
        };
        Self { requests, hang_ups: requests / 4, tags: requests / 10, tags_after_hang_up: requests / 30 }
    }
}

struct Proof {
    rooms: Rooms,
    world: World,
    instances: Vec<Served>,
    caller: Caller,
    ledger: Ledger,
    cases: Cases,
    requests: AtomicUsize,
    longest_wait_microseconds: AtomicUsize,
    /// Rooms in answers that were written after their callers had hung up.
    answered_too_late: Mutex<HashSet<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_at_any_moment_leave_neither_rooms_nor_permits_in_use() {
    prove(Rooms::Pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_at_any_moment_leave_neither_instant_rooms_nor_permits_in_use() {
    prove(Rooms::Instant).await;
}

async fn prove(rooms: Rooms) {
    let _machine = alone().await;
    let started = Instant::now();
    let mut dice = Dice::throw("hang_up");
    let world = World::start().await;
    let settings = settings(&world, rooms);
    let proof = Proof {
        rooms,
        instances: vec![Served::start(&settings), Served::start(&settings)],
        caller: Caller::of(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
        requests: AtomicUsize::new(0),
        longest_wait_microseconds: AtomicUsize::new(FIRST_LONGEST_WAIT_MICROSECONDS),
        answered_too_late: Mutex::default(),
    };
    proof.caller.run_maintenance(&proof.instances[0].url).await.expect("an answer");

    let (storm, enough) =
        (Storm::over(&proof.world, slowness(&proof.world), 3, dice.for_one_more()), Enough::of_this_run(rooms));
    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    join_all(callers.into_iter().map(|dice| proof.create_and_hang_up_until(&enough, &storm, dice))).await;
    let past = storm.end();
    becomes_quiet(&proof.world, Duration::from_secs(1)).await;

    report("hang_up", &format!("{}; {past}; load for {:.1?}", proof.figures(), started.elapsed()));
    let full = async || rooms == Rooms::Instant || proof.world.queue.messages(POOL_QUEUE).len() >= TARGET;
    let after = eventually("the pool is full again without the timer", full).await;
    assert!(proof.world.queue.messages(POOL_QUEUE).len() <= TARGET + CALLS_IN_FLIGHT, "more rooms than were taken");
    proof.every_permit_can_be_used().await;

    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
    becomes_quiet(&proof.world, LONGEST_PAUSE_OF_A_DESTROY).await;
    let Proof { world, instances, ledger, cases, answered_too_late, .. } = proof;
    drop(instances);
    let stock = let_everything_age(&world, &settings, &Clocks::default(), &ledger, &cases);
    report("hang_up", &format!("{stock}; full again after {after:.1?}; all in {:.1?}", started.elapsed()));
    // A room whose caller hung up is destroyed at once. Only rooms whose answers were written before the service
    // noticed the hang-up are left to the sweep, because their callers may have read them.
    let answered_too_late = answered_too_late.into_inner().expect("no holder panics");
    let unknown = stock.unknown.iter().chain(&stock.unanswered);
    let left: Vec<_> = unknown.filter(|name| !answered_too_late.contains(*name)).chain(&stock.orphans).collect();
    assert!(left.is_empty(), "left to the sweep although never answered: {left:?} of {stock}");
}

impl Proof {
    async fn create_and_hang_up_until(&self, enough: &Enough, storm: &Storm, mut dice: Dice) {
        let started = Instant::now();
        while !self.is_enough(enough, storm) {
            assert!(started.elapsed() < LONGEST_LOAD, "{} and {} tags", self.figures(), storm.tags());
            let case = self.cases.next();
            let longest = self.longest_wait_microseconds.load(Ordering::Relaxed);
            let wait = Duration::from_micros(dice.below(longest) as u64);
            let service = &dice.one_of(&self.instances).url;
            let result = self.caller.create_and_hang_up(wait, service, case).await;
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.adapt(&result);
            let has_hung_up = !matches!(result, HangUp::Answered(_));
            match result {
                HangUp::Answered(outcome) => self.ledger.enter(&self.world, case, &outcome),
                HangUp::Unanswered => self.ledger.enter(&self.world, case, &Outcome::NoAnswer),
                HangUp::AnsweredTooLate(outcome) => {
                    if let Outcome::Room { name, .. } = outcome {
                        self.answered_too_late.lock().expect("no holder panics").insert(name);
                    }
                    self.ledger.enter(&self.world, case, &Outcome::NoAnswer);
                }
            }
            if has_hung_up && case.key().is_some() {
                self.find_room_again(&dice.one_of(&self.instances).url, case).await;
            }
        }
    }

    /// The room of the request whose caller hung up, however far it had come: nothing but a hang-up fails a request here.
    async fn find_room_again(&self, service: &Url, case: Case) {
        let is_found = async || {
            let outcome = self.caller.create(service, case).await;
            self.ledger.enter(&self.world, case, &outcome);
            match outcome {
                Outcome::Room { .. } => true,
                Outcome::Refused { status: 409, .. } => false,
                outcome => panic!("{case:?}: {outcome:?}"),
            }
        };
        eventually("the key finds its room", is_found).await;
    }

    /// Lengthens the wait after a hang-up and shortens it after an answer, so that about half of the callers hang up,
    /// at every step of a create, however fast the machine is.
    fn adapt(&self, result: &HangUp) {
        let adapted = |longest: usize| match result {
            HangUp::Answered(_) => Some((longest - longest / 50).max(5_000)),
            HangUp::Unanswered | HangUp::AnsweredTooLate(_) => Some((longest + longest / 50).min(10_000_000)),
        };
        let _before = self.longest_wait_microseconds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, adapted);
    }

    fn is_enough(&self, enough: &Enough, storm: &Storm) -> bool {
        let figures = self.ledger.figures();
        let answered = match self.rooms {
            Rooms::Pool => figures.from_pool,
            Rooms::Instant => figures.rooms,
        };
        let tags_after_hang_up = storm.tags().saturating_sub(answered);
        self.requests.load(Ordering::Relaxed) >= enough.requests
            && figures.no_answer >= enough.hang_ups
            && storm.tags() >= enough.tags
            && tags_after_hang_up >= enough.tags_after_hang_up
            && figures.replays >= enough.tags_after_hang_up / 3
    }

    fn figures(&self) -> String {
        let longest = self.longest_wait_microseconds.load(Ordering::Relaxed) / 1000;
        let too_late = self.answered_too_late.lock().expect("no holder panics").len();
        format!("{}, {too_late} of them answered too late; waits of up to {longest} ms", self.ledger.figures())
    }

    async fn every_permit_can_be_used(&self) {
        match self.rooms {
            Rooms::Pool => self.every_permit_of_the_node_can_be_used().await,
            Rooms::Instant => self.every_permit_of_a_request_can_be_used().await,
        }
    }

    /// As many concurrent creates as requests are admitted get a room. On a busy machine one may fail for its time limit.
    async fn every_permit_of_a_request_can_be_used(&self) {
        for instance in 0..self.instances.len() {
            let at_once = async || {
                let made = Matching::method(Method::PUT).path_contains("/instant%2F");
                let slow = Fault::Slow(Duration::from_millis(500));
                self.world.blobs.traffic().inject(made, Times::N(REQUESTS), slow);
                let outcomes = join_all((0..REQUESTS).map(|_| self.create(instance))).await;
                self.world.blobs.traffic().heal();
                outcomes.iter().all(|outcome| is_room(outcome, false))
            };
            eventually("all requests that are admitted at a time get a room", at_once).await;
        }
    }

    /// As many concurrent creates as there are permits reach the node: with rooms from the pool, and with direct rooms
    /// while the queue is down.
    async fn every_permit_of_the_node_can_be_used(&self) {
        for instance in 0..self.instances.len() {
            self.world.pexip.traffic().clear();
            let from_pool = self.create_at_once(instance, Method::PATCH, TAG_PERMITS).await;
            assert!(from_pool.iter().all(|outcome| is_room(outcome, true)), "{from_pool:?}");
            let full = async || self.world.queue.messages(POOL_QUEUE).len() >= TARGET;
            eventually("the pool is full again", full).await;
        }
        self.world.queue.stop().await;
        for instance in 0..self.instances.len() {
            becomes_quiet(&self.world, Duration::from_secs(1)).await;
            let direct = self.create_at_once(instance, Method::POST, CALLS_IN_FLIGHT).await;
            assert!(direct.iter().all(|outcome| is_room(outcome, false)), "{direct:?}");
        }
        self.world.queue.restart().await;
    }

    /// Stalls these calls until `number` of them have reached the node.
    async fn create_at_once(&self, instance: usize, method: Method, number: usize) -> Vec<Outcome> {
        let (traffic, calls) = (self.world.pexip.traffic(), Matching::method(method));
        traffic.inject(calls.clone(), Times::Always, Fault::Stall);
        let creates = join_all((0..CALLS_IN_FLIGHT).map(|_| self.create(instance)));
        let healing = async {
            eventually("the calls are at the node at the same time", async || traffic.count(&calls) == number).await;
            // A call is logged just before it stalls, so a single heal could miss it.
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

    async fn create(&self, instance: usize) -> Outcome {
        let case = self.cases.next();
        let outcome = self.caller.create(&self.instances[instance].url, case).await;
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }
}

fn is_room(outcome: &Outcome, pooled: bool) -> bool {
    matches!(outcome, Outcome::Room { from_pool, .. } if *from_pool == pooled)
}
