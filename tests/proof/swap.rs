//! A release and its rollback under load: two builds side by side on one queue and one Pexip, each behind a Functions
//! host of its own. At the moment of a swap the requests go to the other build, and the one that they left is killed.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::functions_host::{Invocation, Mode};
use maxconf_simulators::{Fault, FunctionsHost, Matching, Times};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::{
    Caller, Cases, Clocks, Dice, Ledger, OtherBuild, Outcome, Settings, THIS_BUILD, World, alone, eventually, is_full,
    let_everything_age, report, unpacked,
};

const CALLERS: usize = 16;

/// The percentage of rooms that callers end themselves; the others are left to the sweep.
const ENDED_BY_CALLERS: usize = 50;

/// What each step of a room's life takes at queue and node, so that a kill meets requests at every step.
const STEP: Duration = Duration::from_millis(15);

fn settings(world: &World) -> Settings {
    Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", 80)
        .set("POOL_READY_DELAY_SECONDS", 1)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 600)
        .set("POOL_LEASE_SECONDS", 2)
        .set("POOL_PREFETCH", 4)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("LOG_LEVEL", "off")
}

/// A deployment slot with its build.
struct Slot {
    host: FunctionsHost,
    commit: String,
    rooms: AtomicUsize,
    _package: TempDir,
}

impl Slot {
    async fn start(program: &Path, settings: &Settings) -> Self {
        let package = unpacked(program);
        let host = FunctionsHost::start(package.path(), Mode::Proxying, settings.as_environment()).await;
        let host = host.expect("a package without faults");
        let commit = warm_up(&host).await;
        Self { host, commit, rooms: AtomicUsize::new(0), _package: package }
    }
}

/// What comes before a swap: the build has everything that it needs, says the smoke test. Returns its commit.
async fn warm_up(host: &FunctionsHost) -> String {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = host.url().join("health/ready").expect("a path");
    let health = async || http.get(url.clone()).send().await.expect("the host answers");
    eventually("the build is ready", async || health().await.status() == 200).await;
    let health: Value = health().await.json().await.expect("JSON");
    health["commit"].as_str().expect("a commit").to_owned()
}

/// From when to when something went on.
#[derive(Clone, Copy, Debug)]
struct Span {
    slot: usize,
    began: Instant,
    ended: Instant,
}

impl Span {
    fn meets(&self, other: &Self) -> bool {
        self.slot == other.slot && self.began <= other.ended && other.began <= self.ended
    }
}

struct Rehearsal {
    world: World,
    slots: [Slot; 2],
    in_production: AtomicUsize,
    caller: Caller,
    ledger: Ledger,
    cases: Cases,
    unanswered: Mutex<Vec<Span>>,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_and_the_swap_back_fail_no_create_but_those_under_way_in_the_killed_build() {
    let _machine = alone().await;
    let mut dice = Dice::throw("swap");
    let swaps = if is_full() { 60 } else { 6 };
    let world = World::start().await;
    let settings = settings(&world);
    let other = OtherBuild::find();
    let rehearsal = Rehearsal {
        slots: [Slot::start(other.program(), &settings).await, Slot::start(Path::new(THIS_BUILD), &settings).await],
        in_production: AtomicUsize::new(0),
        caller: Caller::through_a_host(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
        unanswered: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let [old, new] = &rehearsal.slots;
    assert_ne!(old.commit, new.commit, "two builds");
    let filled = old.host.run_timer("function_pool_maintenance").await;
    assert!(matches!(filled, Invocation::Succeeded { .. }), "{filled:?}");
    rehearsal.slow_down_every_step();

    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    let (kills, (), _) = tokio::join!(
        rehearsal.swap_to_and_fro(swaps, dice.for_one_more()),
        rehearsal.run_the_timer(),
        join_all(callers.into_iter().map(|dice| rehearsal.call(dice)))
    );
    for slot in &rehearsal.slots {
        slot.host.stop().await;
    }
    // What the killed had sent before is worked on still.
    sleep(Duration::from_millis(500)).await;
    rehearsal.world.queue.traffic().heal();
    rehearsal.world.pexip.traffic().heal();

    let figures = rehearsal.ledger.figures();
    let served = rehearsal.slots.each_ref().map(|slot| (slot.commit.as_str(), slot.rooms.load(Ordering::Relaxed)));
    report("swap", &format!("{swaps} swaps, rooms {served:?}; {figures}"));
    rehearsal.ledger.assert_every_room_is_one_citizens(&rehearsal.world);
    assert!(figures.refused.is_empty(), "{figures}");
    let unanswered = rehearsal.unanswered.lock().expect("nobody panics with it").clone();
    assert!(!unanswered.is_empty(), "no kill has met a request");
    let unexplained: Vec<_> = unanswered.iter().filter(|span| !kills.iter().any(|kill| kill.meets(span))).collect();
    assert!(unexplained.is_empty(), "failed, and no swap has killed them: {unexplained:?}");
    assert!(served.iter().all(|(_, rooms)| *rooms > 0), "{served:?}");
    assert!(figures.from_pool > figures.rooms / 4, "the pool was hardly used: {figures}");
    let Rehearsal { world, ledger, cases, .. } = &rehearsal;
    let stock = let_everything_age(world, &settings, &Clocks::default(), ledger, cases);
    report("swap", &stock.to_string());
}

impl Rehearsal {
    fn production(&self) -> usize {
        self.in_production.load(Ordering::SeqCst)
    }

    fn slow_down_every_step(&self) {
        for traffic in [self.world.queue.traffic(), self.world.pexip.traffic()] {
            for method in [Method::POST, Method::PATCH, Method::DELETE] {
                traffic.inject(Matching::method(method), Times::Always, Fault::Slow(STEP));
            }
        }
    }

    /// One caller after the other; some end their room, at whichever build is in production by then.
    async fn call(&self, mut dice: Dice) {
        while !self.over.load(Ordering::Relaxed) {
            let (case, slot, began) = (self.cases.next(), self.production(), Instant::now());
            let outcome = self.caller.create(&self.slots[slot].host.url(), case).await;
            self.ledger.enter(&self.world, case, &outcome);
            match outcome {
                Outcome::Room { name, .. } => {
                    self.slots[slot].rooms.fetch_add(1, Ordering::Relaxed);
                    if dice.percent(ENDED_BY_CALLERS) {
                        self.end(&name).await;
                    }
                }
                Outcome::NoAnswer => {
                    let span = Span { slot, began, ended: Instant::now() };
                    self.unanswered.lock().expect("nobody panics with it").push(span);
                }
                Outcome::Refused { .. } => {}
            }
            sleep(dice.milliseconds(5, 50)).await;
        }
    }

    async fn end(&self, name: &str) {
        match self.caller.delete(&self.slots[self.production()].host.url(), name).await {
            Some(204 | 404) => self.ledger.ended(name),
            Some(_) | None => self.ledger.perhaps_ended(name),
        }
    }

    /// Returns when each build was killed.
    async fn swap_to_and_fro(&self, swaps: usize, mut dice: Dice) -> Vec<Span> {
        let mut kills = Vec::new();
        for _ in 0..swaps {
            sleep(dice.milliseconds(500, 1500)).await;
            let old = self.production();
            let new = 1 - old;
            warm_up(&self.slots[new].host).await;
            let began = Instant::now();
            self.in_production.store(new, Ordering::SeqCst);
            self.slots[old].host.restart().await;
            kills.push(Span { slot: old, began, ended: Instant::now() });
        }
        sleep(Duration::from_millis(500)).await;
        self.over.store(true, Ordering::Relaxed);
        kills
    }

    /// The slot's setting enables it in production only.
    async fn run_the_timer(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let host = &self.slots[self.production()].host;
            // A swap may kill it as well.
            let _run = host.run_timer("function_pool_maintenance").await;
            sleep(Duration::from_secs(1)).await;
        }
    }
}
