//! Three real processes share queue and node; again and again one of them is killed without warning, wherever it is,
//! and started anew, while citizens come without a pause.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::support::{
    Caller, Cases, Clocks, Dice, Ledger, Outcome, POOL_QUEUE, Program, Settings, Stock, World, alone, eventually,
    is_full, let_everything_age, report,
};

const INSTANCES: usize = 3;
const CALLERS: usize = 24;

/// About as many as are asked for while a new room is hidden: those who wait receive a room the moment it is there.
const TARGET: usize = 120;

/// The percentage of rooms that callers end themselves; the others are left to the sweep.
const ENDED_BY_CALLERS: usize = 90;

/// What each step of a room's life takes at queue and node. A killed process is then between two steps, or in the
/// middle of one that is done all the same, more often than not.
const STEP: Duration = Duration::from_millis(15);

const LEASE: Duration = Duration::from_secs(2);

/// The queue's clock leaps by more than a lease, as if every process had been frozen for so long: what each of them
/// holds and still believes in is then somebody else's.
const LEAP: Duration = Duration::from_secs(3);

/// A load that does not get through in this time per thousand creates has stopped getting through at all.
const LONGEST_PER_THOUSAND: Duration = Duration::from_secs(60);

/// Ages in seconds. Nothing is handed out that could expire before its request's deadline and a margin, so an unused
/// room lives for much longer than it waits in the pool here.
fn settings(world: &World) -> Settings {
    Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", TARGET)
        .set("POOL_READY_DELAY_SECONDS", 1)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 90)
        .set("POOL_LEASE_SECONDS", LEASE.as_secs())
        .set("POOL_PREFETCH", 4)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("ROOM_MAX_LIFETIME_SECONDS", if is_full() { 100 } else { 600 })
        .set("REQUEST_DEADLINE_SECONDS", 8)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 4)
}

/// The processes, each with its place among them for good.
struct Fleet {
    settings: Settings,
    places: Vec<Mutex<Option<Program>>>,
    addresses: std::sync::Mutex<Vec<Url>>,
}

impl Fleet {
    async fn start(settings: Settings) -> Self {
        let programs = join_all((0..INSTANCES).map(|_| Program::start(&settings))).await;
        let addresses = programs.iter().map(|program| program.url.clone()).collect();
        let places = programs.into_iter().map(|program| Mutex::new(Some(program))).collect();
        Self { settings, places, addresses: std::sync::Mutex::new(addresses) }
    }

    fn address(&self, place: usize) -> Url {
        self.addresses.lock().expect("nobody panics with it")[place].clone()
    }

    async fn kill(&self, place: usize) {
        if let Some(program) = self.places[place].lock().await.take() {
            program.kill();
        }
    }

    async fn kill_and_start_again(&self, place: usize) {
        self.kill(place).await;
        let program = Program::start(&self.settings).await;
        self.addresses.lock().expect("nobody panics with it")[place] = program.url.clone();
        *self.places[place].lock().await = Some(program);
    }
}

struct Proof {
    world: World,
    fleet: Fleet,
    caller: Caller,
    ledger: Ledger,
    cases: Cases,
    over: AtomicBool,
    ended_by_callers: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_killed_at_any_moment_never_share_a_room_and_leave_nothing_that_stays() {
    let _machine = alone().await;
    let started = Instant::now();
    let mut dice = Dice::throw("kill");
    let (creates, kills) = if is_full() { (20_000, 150) } else { (2_000, 15) };
    let world = World::start().await;
    let proof = Proof {
        fleet: Fleet::start(settings(&world)).await,
        caller: Caller::of(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
        over: AtomicBool::new(false),
        ended_by_callers: AtomicUsize::new(0),
    };
    proof.caller.run_maintenance(&proof.fleet.address(0)).await.expect("nobody is killed yet");
    proof.slow_down_every_step();

    let loaded = Instant::now();
    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    let (killed, timers, leaps, _) = tokio::join!(
        proof.kill_until(creates, kills, dice.for_one_more()),
        proof.run_the_timer(),
        proof.let_leases_run_out(dice.for_one_more()),
        join_all(callers.into_iter().map(|dice| proof.call(dice)))
    );
    let loaded = loaded.elapsed();
    if is_full() {
        proof.wait_for_the_processes_own_sweep().await;
    }
    for place in 0..INSTANCES {
        proof.fleet.kill(place).await;
    }
    // What the killed had sent before is worked on still.
    sleep(Duration::from_millis(500)).await;
    proof.world.queue.traffic().heal();
    proof.world.pexip.traffic().heal();

    let figures = proof.ledger.figures();
    report("kill", &format!("{figures}; {killed} kills, {leaps} leaps, load for {loaded:.1?}; timer {timers}"));
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
    let Proof { world, ledger, cases, .. } = &proof;
    let stock = let_everything_age(world, &settings(world), &Clocks::default(), ledger, cases);
    let ended = proof.ended_by_callers.load(Ordering::Relaxed);
    report("kill", &format!("{stock}; {ended} ended by their callers; all in {:.1?}", started.elapsed()));
    assert!(figures.no_answer > 0, "no kill has met a request");
    assert!(figures.from_pool > figures.rooms / 4, "the pool was hardly used: {figures}");
}

impl Proof {
    fn slow_down_every_step(&self) {
        for traffic in [self.world.queue.traffic(), self.world.pexip.traffic()] {
            for method in [Method::POST, Method::PATCH, Method::DELETE] {
                traffic.inject(Matching::method(method), Times::Always, Fault::Slow(STEP));
            }
        }
        let check = Matching::method(Method::GET).query_contains("name__in");
        self.world.pexip.traffic().inject(check, Times::Always, Fault::Slow(STEP));
    }

    /// One caller after the other; some end their room, most of the others leave that to the sweep.
    async fn call(&self, mut dice: Dice) {
        while !self.over.load(Ordering::Relaxed) {
            let case = self.cases.next();
            let outcome = self.caller.create(&self.fleet.address(dice.below(INSTANCES)), case).await;
            self.ledger.enter(&self.world, case, &outcome);
            match outcome {
                Outcome::Room { name, .. } if dice.percent(ENDED_BY_CALLERS) => {
                    self.end(&name, dice.below(INSTANCES)).await;
                }
                Outcome::Room { .. } => {}
                Outcome::Refused { .. } | Outcome::NoAnswer => sleep(dice.milliseconds(5, 50)).await,
            }
        }
    }

    async fn end(&self, name: &str, place: usize) {
        match self.caller.delete(&self.fleet.address(place), name).await {
            Some(204 | 404) => {
                self.ledger.ended(name);
                self.ended_by_callers.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) | None => self.ledger.perhaps_ended(name),
        }
    }

    /// Returns how often it has killed.
    async fn kill_until(&self, creates: usize, kills: usize, mut dice: Dice) -> usize {
        let limit = LONGEST_PER_THOUSAND * u32::try_from(creates / 1000).expect("not that many");
        let (started, mut killed) = (Instant::now(), 0);
        while killed < kills || self.ledger.figures().rooms < creates {
            assert!(started.elapsed() < limit, "{killed} kills, {}", self.ledger.figures());
            sleep(dice.milliseconds(100, 1500)).await;
            self.fleet.kill_and_start_again(dice.below(INSTANCES)).await;
            killed += 1;
            if killed % 10 == 0 && is_full() {
                report("kill", &format!("{killed} kills, {}", self.ledger.figures()));
            }
        }
        self.over.store(true, Ordering::Relaxed);
        killed
    }

    /// The Functions host has its timer in one place.
    async fn run_the_timer(&self) -> String {
        let (mut runs, mut busy, mut broken_off) = (0, 0, 0);
        while !self.over.load(Ordering::Relaxed) {
            match self.caller.run_maintenance(&self.fleet.address(0)).await {
                Some(said) if said.contains("under way") => busy += 1,
                Some(_) => runs += 1,
                None => broken_off += 1,
            }
            sleep(Duration::from_secs(1)).await;
        }
        format!("{runs} runs, {busy} busy, {broken_off} broken off")
    }

    async fn let_leases_run_out(&self, mut dice: Dice) -> usize {
        let mut leaps = 0;
        while !self.over.load(Ordering::Relaxed) {
            sleep(dice.milliseconds(50, 400)).await;
            self.world.queue.advance(LEAP);
            leaps += 1;
        }
        leaps
    }

    /// With real time for the ages and between the looks at a room.
    async fn wait_for_the_processes_own_sweep(&self) {
        let (started, mut last) = (Instant::now(), String::new());
        while started.elapsed() < Duration::from_secs(300) {
            self.caller.run_maintenance(&self.fleet.address(0)).await.expect("nobody is killed any more");
            let stock = Stock::take(&self.world, &self.ledger, &self.cases);
            last = stock.to_string();
            if stock.orphans.is_empty() && stock.handed_out.is_empty() && stock.unknown.is_empty() {
                report("kill", &format!("swept by the processes after {:.0?}: {stock}", started.elapsed()));
                let full = async || self.world.queue.messages(POOL_QUEUE).len() >= TARGET;
                eventually("the pool is full", full).await;
                return;
            }
            sleep(Duration::from_secs(3)).await;
        }
        panic!("the processes' own sweep has left: {last}");
    }
}
