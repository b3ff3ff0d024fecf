//! A release and its rollback under load: two builds share one queue and one Pexip, each behind its own Functions host.
//! A swap directs the requests to the other build and kills the previous one. The two may hand out rooms of different
//! kinds.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::functions_host::{Invocation, Mode};
use maxconf_simulators::{Fault, FunctionsHost, Matching, StoredBlob, Times, Traffic};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::support::{
    Caller, Cases, Clocks, Conflicts, Dice, Instance, Ledger, NodeAnswer, OldBuild, OtherBuild, Outcome, RECORDS,
    Rooms, Settings, THIS_BUILD, World, alone, becomes_quiet, eventually, is_full, let_everything_age, report,
    unpacked,
};

const CALLERS: usize = 16;

/// Percentage of rooms that their callers end; the sweep ends the others.
const ENDED_BY_CALLERS: usize = 50;

/// Duration of each call to queue and node, so that a kill meets requests at every step.
const STEP: Duration = Duration::from_millis(15);

fn settings(world: &World) -> Settings {
    Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", 80)
        .set("POOL_READY_DELAY_SECONDS", 1)
        .set("POOL_ROOM_MAX_AGE_SECONDS", 600)
        .set("POOL_LEASE_SECONDS", 2)
        .set("POOL_PREFETCH", 4)
        // Longer than any call takes on a busy machine: only a swap may fail a create here.
        .set("REQUEST_DEADLINE_SECONDS", 60)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 30)
        .set("SWEEP_MARGIN_SECONDS", 0)
        .set("LOG_LEVEL", "off")
}

/// What must have happened before the load ends, besides the swaps. Only counts: the duration depends on the machine.
const ROOMS_FROM_POOL: usize = 100;

/// The same where one of the builds hands out no room of the pool.
const ROOMS_FROM_POOL_OF_ONE: usize = 40;

/// Time limit per swap after which the load counts as stuck. An idle machine takes seconds.
const LONGEST_PER_SWAP: Duration = Duration::from_secs(120);

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

/// Waits until the build is ready, as a deployment does before a swap. Returns its commit.
async fn warm_up(host: &FunctionsHost) -> String {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = host.url().join("health/ready").expect("a path");
    let health = async || http.get(url.clone()).send().await.expect("the host answers");
    eventually("the build is ready", async || health().await.status() == 200).await;
    let health: Value = health().await.json().await.expect("JSON");
    health["commit"].as_str().expect("a commit").to_owned()
}

/// When something began and ended at a slot.
#[derive(Clone, Copy, Debug)]
struct Span {
    slot: usize,
    began: Instant,
    ended: Instant,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.slot == other.slot && self.began <= other.ended && other.began <= self.ended
    }
}

struct Rehearsal {
    /// Of the second build.
    rooms: Rooms,
    world: World,
    slots: [Slot; 2],
    in_production: AtomicUsize,
    caller: Caller,
    ledger: Ledger,
    cases: Cases,
    unanswered: Mutex<Vec<Span>>,
    /// Look-ups of the second build's rooms that the first one has answered.
    let_in_by_pool_build: AtomicUsize,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_and_the_swap_back_fail_no_create_but_those_under_way_in_the_killed_build() {
    rehearse(Rooms::Pool, if is_full() { 60 } else { 6 }).await;
}

/// As when instant rooms are switched on, and off again: the rooms of each build are looked up and ended at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_to_instant_rooms_and_back_fails_no_create_and_ends_no_room() {
    rehearse(Rooms::Instant, if is_full() { 20 } else { 4 }).await;
}

/// From a build that hands out rooms of the pool to one that hands out `rooms`.
async fn rehearse(rooms: Rooms, swaps: usize) {
    let _machine = alone().await;
    let mut dice = Dice::throw("swap");
    let world = World::start().await;
    let settings = match rooms {
        Rooms::Pool => [settings(&world), settings(&world)],
        Rooms::Instant => [settings(&world).with_policy(), settings(&world).with_rooms(rooms)],
    };
    let other = OtherBuild::find();
    let rehearsal = Rehearsal {
        rooms,
        slots: [
            Slot::start(other.program(), &settings[0]).await,
            Slot::start(Path::new(THIS_BUILD), &settings[1]).await,
        ],
        in_production: AtomicUsize::new(0),
        caller: Caller::through_a_host(&world.entra),
        world,
        ledger: Ledger::default(),
        cases: Cases::default(),
        unanswered: Mutex::default(),
        let_in_by_pool_build: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let [old, new] = &rehearsal.slots;
    assert_ne!(old.commit, new.commit, "two builds");
    let filled = old.host.run_timer("function_pool_maintenance").await;
    assert!(matches!(filled, Invocation::Succeeded { .. }), "{filled:?}");
    rehearsal.slow_down_every_step();

    let callers: Vec<_> = (0..CALLERS).map(|_| dice.for_one_more()).collect();
    let (kills, (), _) = tokio::join!(
        rehearsal.swap_back_and_forth(swaps, dice.for_one_more()),
        rehearsal.run_the_timer(),
        join_all(callers.into_iter().map(|dice| rehearsal.call(dice)))
    );
    for slot in &rehearsal.slots {
        slot.host.stop().await;
    }
    // The calls that the killed had sent are still carried out.
    becomes_quiet(&rehearsal.world, Duration::from_secs(1)).await;
    for traffic in rehearsal.slowed_down() {
        traffic.heal();
    }

    let figures = rehearsal.ledger.figures();
    let served = rehearsal.slots.each_ref().map(|slot| (slot.commit.as_str(), slot.rooms.load(Ordering::Relaxed)));
    report("swap", &format!("{} swaps, rooms {served:?}; {figures}", kills.len()));
    rehearsal.ledger.assert_every_room_is_one_citizens(&rehearsal.world);
    assert!(figures.refused.is_empty(), "{figures}");
    let unanswered = rehearsal.unanswered.lock().expect("no holder panics").clone();
    let unexplained: Vec<_> = unanswered.iter().filter(|span| !kills.iter().any(|kill| kill.overlaps(span))).collect();
    assert!(unexplained.is_empty(), "failed without a kill: {unexplained:?}");
    let Rehearsal { world, ledger, cases, .. } = &rehearsal;
    let stock = let_everything_age(world, &settings[0], &Clocks::default(), ledger, cases);
    report("swap", &stock.to_string());
}

/// The build before the room records, as it is beside this one during a swap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_build_that_claims_by_the_delete_alone_no_room_is_handed_out_twice() {
    const ROOMS_OF_EACH: usize = 100;
    const CALLERS_OF_EACH: usize = 6;
    /// Of messages that the old build had deleted when this build had made its record.
    const CONFLICTS: usize = 5;

    let _machine = alone().await;
    let conflicts = Conflicts::watch();
    let mut dice = Dice::throw("swap beside an old build");
    let world = World::start().await;
    let settings = settings(&world).set("POOL_READY_DELAY_SECONDS", 0).set("POOL_EMPTY", "refuse");
    let start = || Instance::start(&world, &settings, Clocks::default().of_an_instance());
    let (new, old) = ([start(), start()], [OldBuild::new(&settings), OldBuild::new(&settings)]);
    new[0].run_maintenance().await;
    for traffic in [world.queue.traffic(), world.blobs.traffic(), world.pexip.traffic()] {
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            traffic.inject(Matching::method(method), Times::Always, Fault::Slow(STEP));
        }
    }
    let (ledger, cases) = (Ledger::default(), Cases::default());
    let served = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let gone = || {
        let rooms: Vec<_> = world.blobs.blobs(RECORDS).iter().filter_map(claimed_room).collect();
        conflicts.count("message_gone", &rooms)
    };
    let started = Instant::now();
    let is_enough = || served.iter().all(|rooms| rooms.load(Ordering::Relaxed) >= ROOMS_OF_EACH) && gone() >= CONFLICTS;
    let is_over = || ledger.has_duplicate() || is_enough();
    let call = async |number: usize, mut dice: Dice| {
        while !is_over() {
            assert!(started.elapsed() < 2 * LONGEST_PER_SWAP, "{served:?}; {}", ledger.figures());
            let outcome = if number < CALLERS_OF_EACH {
                let case = cases.next_without_key();
                Some((case, new[number % 2].create(case).await))
            } else {
                let case = cases.next_without_key();
                let pause = dice.milliseconds(0, 100);
                old[number % 2].create(&world, case, pause).await.map(|outcome| (case, outcome))
            };
            if let Some((case, outcome)) = outcome {
                ledger.enter(&world, case, &outcome);
                if let Outcome::Room { .. } = outcome {
                    served[number / CALLERS_OF_EACH].fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(dice.milliseconds(1, 20)).await;
        }
    };
    let leaps = async |mut dice: Dice| {
        while !is_over() {
            sleep(dice.milliseconds(50, 200)).await;
            // An instance may still rely on a lease that has ended.
            world.queue.advance(Duration::from_secs(3));
            new[0].run_maintenance().await;
        }
    };
    let callers: Vec<_> = (0..2 * CALLERS_OF_EACH).map(|_| dice.for_one_more()).collect();
    tokio::join!(
        join_all(callers.into_iter().enumerate().map(|(number, dice)| call(number, dice))),
        leaps(dice.for_one_more())
    );

    report("swap", &format!("rooms by new and old build {served:?}; {} messages gone; {}", gone(), ledger.figures()));
    ledger.assert_every_room_is_one_citizens(&world);
}

fn claimed_room(blob: &StoredBlob) -> Option<String> {
    blob.name.strip_prefix("claims/").map(str::to_owned)
}

impl Rehearsal {
    fn production(&self) -> usize {
        self.in_production.load(Ordering::SeqCst)
    }

    fn slowed_down(&self) -> [&Traffic; 3] {
        [self.world.queue.traffic(), self.world.blobs.traffic(), self.world.pexip.traffic()]
    }

    fn slow_down_every_step(&self) {
        for traffic in self.slowed_down() {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                traffic.inject(Matching::method(method), Times::Always, Fault::Slow(STEP));
            }
        }
    }

    /// One create after the other. Some rooms are ended by their callers, at the build that is in production by then.
    async fn call(&self, mut dice: Dice) {
        while !self.over.load(Ordering::Relaxed) {
            let (case, slot, began) = (self.cases.next(), self.production(), Instant::now());
            let outcome = self.caller.create(&self.slots[slot].host.url(), case).await;
            self.ledger.enter(&self.world, case, &outcome);
            match outcome {
                Outcome::Room { name, instant, .. } => {
                    self.slots[slot].rooms.fetch_add(1, Ordering::Relaxed);
                    if instant.is_some() {
                        self.look_up(&name).await;
                    }
                    if dice.percent(ENDED_BY_CALLERS) {
                        self.end(&name).await;
                    }
                    if instant.is_some() {
                        self.look_up(&name).await;
                    }
                }
                Outcome::NoAnswer => {
                    let span = Span { slot, began, ended: Instant::now() };
                    self.unanswered.lock().expect("no holder panics").push(span);
                }
                Outcome::Refused { .. } => {}
            }
            sleep(dice.milliseconds(5, 50)).await;
        }
    }

    /// At the build that is in production by then.
    async fn look_up(&self, name: &str) {
        let slot = self.production();
        let url = self.slots[slot].host.url();
        let answer = self.ledger.look_up(name, OffsetDateTime::now_utc, self.caller.look_up(&url, name)).await;
        if slot == 0 && matches!(answer, NodeAnswer::LetIn(_)) {
            self.let_in_by_pool_build.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn end(&self, name: &str) {
        match self.caller.delete(&self.slots[self.production()].host.url(), name).await {
            Some(204 | 404) => self.ledger.ended(name),
            Some(_) | None => self.ledger.perhaps_ended(name),
        }
    }

    /// Returns when each build was killed. A kill has met a request by then, both builds have served and the pool was
    /// used.
    async fn swap_back_and_forth(&self, swaps: usize, mut dice: Dice) -> Vec<Span> {
        let (started, mut kills) = (Instant::now(), Vec::new());
        let limit = LONGEST_PER_SWAP * u32::try_from(swaps).expect("not that many");
        while !self.ledger.has_duplicate() && (kills.len() < swaps || !self.has_seen_enough()) {
            assert!(started.elapsed() < limit, "{} swaps; {}", kills.len(), self.ledger.figures());
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

    fn has_seen_enough(&self) -> bool {
        let is_hit = !self.unanswered.lock().expect("no holder panics").is_empty();
        let all_served = self.slots.iter().all(|slot| slot.rooms.load(Ordering::Relaxed) > 0);
        let figures = self.ledger.figures();
        let are_used = match self.rooms {
            Rooms::Pool => figures.from_pool >= ROOMS_FROM_POOL,
            Rooms::Instant => {
                let is_let_in = self.let_in_by_pool_build.load(Ordering::Relaxed) > 0;
                is_let_in && figures.turned_away > 0 && figures.from_pool >= ROOMS_FROM_POOL_OF_ONE
            }
        };
        is_hit && all_served && are_used
    }

    /// The timer runs in production only.
    async fn run_the_timer(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let host = &self.slots[self.production()].host;
            // A swap may kill the run.
            let _run = host.run_timer("function_pool_maintenance").await;
            sleep(Duration::from_secs(1)).await;
        }
    }
}
