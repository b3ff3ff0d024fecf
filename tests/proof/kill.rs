//! Three real processes share storage and node. One after the other is killed without warning, at any step, and
//! restarted, while citizens arrive without a pause.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::support::{
    Caller, Case, Cases, Clocks, Dice, Ledger, Outcome, POOL_QUEUE, Program, Rooms, Settings, Stock, World, alone,
    becomes_quiet, eventually, is_full, let_everything_age, report,
};

const INSTANCES: usize = 3;
const CALLERS: usize = 24;

/// About as many as are requested while a new room is hidden: a waiting request receives a room as soon as it is
/// visible.
const TARGET: usize = 120;

/// Percentage of rooms that their callers end; the sweep ends the others.
const ENDED_BY_CALLERS: usize = 90;

/// Percentage of requests that repeat one with a key that got no room, if there is one.
const REPETITIONS: usize = 30;

/// Duration of each call to queue and node, so that most kills hit a process between two calls, or during one that is
/// still carried out.
const STEP: Duration = Duration::from_millis(15);

const LEASE: Duration = Duration::from_secs(2);

/// The queue's clock leaps by more than a lease, as if every process had been suspended for that time: each process
/// holds leases that it takes for valid although others may have received the messages again.
const LEAP: Duration = Duration::from_secs(3);

/// Time limit per thousand creates, after which the load counts as stuck. An idle machine takes half a minute.
const LONGEST_PER_THOUSAND: Duration = Duration::from_secs(10 * 60);

/// Ages in seconds. A room is not handed out if it could expire before its request's deadline and a margin, so an
/// unused room lives much longer than it waits in the pool here.
fn settings(world: &World, rooms: Rooms) -> Settings {
    let settings = Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", TARGET)
        .set("POOL_READY_DELAY_SECONDS", 1)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 90)
        .set("POOL_LEASE_SECONDS", LEASE.as_secs())
        .set("POOL_PREFETCH", 4)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("ROOM_MAX_LIFETIME_SECONDS", if is_full() { 100 } else { 600 })
        .set("REQUEST_DEADLINE_SECONDS", 8)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 4);
    settings.with_rooms(rooms)
}

/// What must have happened before the load ends. Only counts: the duration depends on the machine.
struct Enough {
    creates: usize,
    kills: usize,
    from_pool: usize,
    /// Look-ups of instant rooms before and after their end.
    let_in: usize,
    turned_away: usize,
}

impl Enough {
    fn of_this_run(rooms: Rooms) -> Self {
        match rooms {
            Rooms::Pool => {
                let (creates, kills) = if is_full() { (20_000, 150) } else { (2_000, 15) };
                Self { creates, kills, from_pool: creates / 4, let_in: 0, turned_away: 0 }
            }
            Rooms::Instant => {
                let (creates, kills) = if is_full() { (20_000, 50) } else { (500, 5) };
                Self { creates, kills, from_pool: 0, let_in: creates / 4, turned_away: creates / 4 }
            }
        }
    }
}

/// The processes. Each keeps its number when it is restarted.
struct Fleet {
    settings: Settings,
    programs: Vec<Mutex<Option<Program>>>,
    addresses: std::sync::Mutex<Vec<Url>>,
}

impl Fleet {
    async fn start(settings: Settings) -> Self {
        let programs = join_all((0..INSTANCES).map(|_| Program::start(&settings))).await;
        let addresses = programs.iter().map(|program| program.url.clone()).collect();
        let programs = programs.into_iter().map(|program| Mutex::new(Some(program))).collect();
        Self { settings, programs, addresses: std::sync::Mutex::new(addresses) }
    }

    fn address(&self, number: usize) -> Url {
        self.addresses.lock().expect("no holder panics")[number].clone()
    }

    async fn kill(&self, number: usize) {
        if let Some(program) = self.programs[number].lock().await.take() {
            program.kill();
        }
    }

    async fn kill_and_start_again(&self, number: usize) {
        self.kill(number).await;
        let program = Program::start(&self.settings).await;
        self.addresses.lock().expect("no holder panics")[number] = program.url.clone();
        *self.programs[number].lock().await = Some(program);
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
async fn processes_killed_at_any_moment_never_share_a_room_and_leave_no_room_for_ever() {
    prove(Rooms::Pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_killed_at_any_moment_let_one_citizen_into_an_instant_room_until_its_end() {
    prove(Rooms::Instant).await;
}

async fn prove(rooms: Rooms) {
    let _machine = alone().await;
    let started = Instant::now();
    let mut dice = Dice::throw("kill");
    let world = World::start().await;
    let settings = settings(&world, rooms);
    let proof = Proof {
        fleet: Fleet::start(settings.clone()).await,
        caller: Caller::of(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
        over: AtomicBool::new(false),
        ended_by_callers: AtomicUsize::new(0),
    };
    proof.caller.run_maintenance(&proof.fleet.address(0)).await.expect("no process has been killed yet");
    proof.slow_down_every_step();

    let loaded = Instant::now();
    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    let enough = Enough::of_this_run(rooms);
    let (killed, timers, leaps, _) = tokio::join!(
        proof.kill_until(&enough, dice.for_one_more()),
        proof.run_the_timer(),
        proof.let_leases_run_out(dice.for_one_more()),
        join_all(callers.into_iter().map(|dice| proof.call(dice)))
    );
    let loaded = loaded.elapsed();
    if is_full() && rooms == Rooms::Pool {
        proof.wait_for_the_processes_own_sweep().await;
    }
    for number in 0..INSTANCES {
        proof.fleet.kill(number).await;
    }
    // Calls that a killed process had sent are still carried out.
    becomes_quiet(&proof.world, Duration::from_secs(1)).await;
    for traffic in [proof.world.queue.traffic(), proof.world.blobs.traffic(), proof.world.pexip.traffic()] {
        traffic.heal();
    }

    let figures = proof.ledger.figures();
    report("kill", &format!("{figures}; {killed} kills, {leaps} leaps, load for {loaded:.1?}; timer {timers}"));
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
    let Proof { world, ledger, cases, .. } = &proof;
    let stock = let_everything_age(world, &settings, &Clocks::default(), ledger, cases);
    let ended = proof.ended_by_callers.load(Ordering::Relaxed);
    report("kill", &format!("{stock}; {ended} ended by their callers; all in {:.1?}", started.elapsed()));
}

impl Proof {
    fn slow_down_every_step(&self) {
        for traffic in [self.world.queue.traffic(), self.world.blobs.traffic(), self.world.pexip.traffic()] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                traffic.inject(Matching::method(method), Times::Always, Fault::Slow(STEP));
            }
        }
        let check = Matching::method(Method::GET).query_contains("name__in");
        self.world.pexip.traffic().inject(check, Times::Always, Fault::Slow(STEP));
    }

    /// One create after the other, those with a key until they get a room. Most rooms are ended by their callers, the
    /// others by the sweep.
    async fn call(&self, mut dice: Dice) {
        let mut to_repeat = VecDeque::new();
        loop {
            let is_over = self.over.load(Ordering::Relaxed);
            let repeated = if is_over || dice.percent(REPETITIONS) { to_repeat.pop_front() } else { None };
            if is_over && repeated.is_none() {
                return;
            }
            let case = repeated.unwrap_or_else(|| self.cases.next());
            match self.create(dice.below(INSTANCES), case).await {
                Outcome::Room { name, instant, .. } => {
                    if case.key().is_some() {
                        self.create(dice.below(INSTANCES), case).await;
                    }
                    if instant.is_some() {
                        self.look_up(&name, dice.below(INSTANCES)).await;
                    }
                    if dice.percent(ENDED_BY_CALLERS) {
                        self.end(&name, dice.below(INSTANCES)).await;
                    }
                    if instant.is_some() {
                        self.look_up(&name, dice.below(INSTANCES)).await;
                    }
                }
                outcome @ (Outcome::Refused { .. } | Outcome::NoAnswer) => {
                    assert!(
                        !matches!(outcome, Outcome::Refused { status: 410, .. }),
                        "nobody ended the room of {case:?}"
                    );
                    if case.key().is_some() {
                        to_repeat.push_back(case);
                    }
                    sleep(dice.milliseconds(5, 50)).await;
                }
            }
        }
    }

    async fn create(&self, number: usize, case: Case) -> Outcome {
        let outcome = self.caller.create(&self.fleet.address(number), case).await;
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }

    async fn look_up(&self, name: &str, number: usize) {
        let asked = self.fleet.address(number);
        self.ledger.look_up(name, OffsetDateTime::now_utc, self.caller.look_up(&asked, name)).await;
    }

    async fn end(&self, name: &str, number: usize) {
        match self.caller.delete(&self.fleet.address(number), name).await {
            Some(204 | 404) => {
                self.ledger.ended(name);
                self.ended_by_callers.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) | None => self.ledger.perhaps_ended(name),
        }
    }

    /// Returns the number of kills. At least one of them has interrupted a request.
    async fn kill_until(&self, enough: &Enough, mut dice: Dice) -> usize {
        let limit = LONGEST_PER_THOUSAND * u32::try_from(enough.creates.div_ceil(1000)).expect("not that many");
        let (started, mut killed) = (Instant::now(), 0);
        let is_over = |killed| {
            let figures = self.ledger.figures();
            let served = figures.rooms >= enough.creates && figures.from_pool >= enough.from_pool;
            let served = served && figures.let_in >= enough.let_in && figures.turned_away >= enough.turned_away;
            served && figures.no_answer > 0 && figures.replays > 0 && killed >= enough.kills
        };
        while !is_over(killed) {
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

    /// The Functions host runs its timer on one instance.
    async fn run_the_timer(&self) -> String {
        let (mut runs, mut busy, mut broken_off) = (0, 0, 0);
        while !self.over.load(Ordering::Relaxed) {
            match self.caller.run_maintenance(&self.fleet.address(0)).await {
                Some(report) if report.contains("under way") => busy += 1,
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

    /// In real time, both for the rooms' ages and between a sweep's two presence snapshots.
    async fn wait_for_the_processes_own_sweep(&self) {
        let (started, mut last) = (Instant::now(), String::new());
        while started.elapsed() < Duration::from_secs(1200) {
            self.caller.run_maintenance(&self.fleet.address(0)).await.expect("no process is killed any more");
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
        panic!("the processes' own sweep left: {last}");
    }
}
