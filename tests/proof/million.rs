//! Creates in bulk while every call may fail, leases expire too early, messages are copied and instances are killed: no
//! room is handed out twice, none carries another citizen's tag, and a repeated key gets one room. All Conferencing Nodes
//! get the same answer about an instant room, while it can be joined.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching};
use reqwest::Method;
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep};

use crate::support::{
    Case, Cases, Clocks, Dice, FaultPlan, Instance, Ledger, Mortal, NodeAnswer, Outcome, POOL_QUEUE, Rooms, Settings,
    Storm, World, alone, becomes_quiet, is_full, let_everything_age, report,
};

const INSTANCES: usize = 8;
const CALLERS_OF_EACH: usize = 12;

const A_MILLION: usize = 1_000_000;
const A_HUNDRED_THOUSAND: usize = 100_000;

/// Creates of the short runs.
const SOME_THOUSAND: usize = 3_000;
const SOME_INSTANT: usize = 1_500;

/// Time limits after which the load counts as stuck.
const LONGEST_RUN: Duration = Duration::from_secs(6 * 3600);
const LONGEST_SHORT_RUN: Duration = Duration::from_secs(20 * 60);

/// One call of this many fails.
const CALLS_PER_FAULT: usize = 150;

/// The same where every call goes to the records: a failure stops an instance's creates for a second.
const CALLS_PER_FAULT_OF_RECORDS: usize = 600;

/// Nodes that look up an instant room as soon as it is answered.
const NODES: usize = 2;

/// Rooms that are looked up once more after some time; half of the leaps of their validity pass meanwhile.
const LATER_LOOK_UPS: usize = 1000;

/// Percentage of instant rooms that their callers end, and of those that begin later.
const ENDED_BY_CALLERS: usize = 30;
const BEGUN_LATER: usize = 30;

/// A leap and a half after the create.
const BEGINS_AFTER: Duration = Duration::from_secs(90);

/// The clocks leap by more than a lease: after each leap all leased messages can be received again.
const LEAP: Duration = Duration::from_secs(61);
const BETWEEN_LEAPS: Duration = Duration::from_millis(500);

/// The fewest rooms handed out between two leaps: otherwise a slow machine's pool would be empty.
const ROOMS_BETWEEN_LEAPS: usize = 100;

/// The fewest rooms handed out between two kills, and the fewest kills.
const ROOMS_BETWEEN_KILLS: usize = 200;
const KILLS: usize = 5;

/// How often a request with a key is repeated that gets no room. While it is unknown whether an earlier one left a room,
/// all are refused; then the key is free after a leap or two.
const MOST_REPETITIONS: usize = 100;

/// How often messages are copied: all that have no copy yet.
const BETWEEN_COPIES: Duration = Duration::from_millis(250);

/// The clocks leap three times before a copy expires. An instance deletes few dead messages in a minute of real time, so
/// without an end they would fill the queue.
const LIFETIME_OF_COPIES: Duration = Duration::from_secs(180);

/// A failed destroy is retried for the last time after five seconds.
const LAST_PAUSE_OF_A_DESTROY: Duration = Duration::from_secs(7);

fn settings(world: &World, rooms: Rooms) -> Settings {
    let settings = Settings::without_limits(world)
        .set("POOL_TARGET_SIZE", 400)
        .set("POOL_PREFETCH", 4)
        // With the leaps an hour passes in half a minute.
        .set("POOL_ROOM_MAX_AGE_SECONDS", 3600)
        .set("SWEEP_MARGIN_SECONDS", 600)
        .set("ROOM_MAX_LIFETIME_SECONDS", 7200)
        .set("REQUEST_DEADLINE_SECONDS", 8)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .set("INSTANT_ROOM_LIFETIME_SECONDS", 600)
        .set("INSTANT_ROOM_MAX_LIFETIME_SECONDS", 3600);
    settings.with_rooms(rooms)
}

/// Every call, and how it may fail: not carried out, carried out without an answer, carried out late, refused.
fn faults(world: &World) -> Vec<FaultPlan> {
    let usual = || {
        vec![
            Fault::HangUpBefore,
            Fault::HangUpAfter,
            Fault::StatusAfter(500),
            Fault::StatusAfter(503),
            Fault::Status(500),
            Fault::Status(429),
            Fault::Slow(Duration::from_millis(20)),
            Fault::Slow(Duration::from_millis(200)),
        ]
    };
    let with = |mut faults: Vec<Fault>, more: Vec<Fault>| {
        faults.extend(more);
        faults
    };
    // Carried out after the service has stopped waiting for the answer.
    let late = vec![Fault::Slow(Duration::from_millis(1300))];
    let queue = |calls: Matching, faults| FaultPlan::of(world.queue.traffic(), calls, faults);
    let pexip = |calls: Matching, faults| FaultPlan::of(world.pexip.traffic(), calls, faults);
    let records = |calls: Matching, faults| FaultPlan::of(world.blobs.traffic(), calls, faults);
    vec![
        queue(Matching::method(Method::GET), with(usual(), vec![Fault::Rubbish])),
        queue(Matching::method(Method::POST), usual()),
        queue(Matching::method(Method::DELETE), with(usual(), vec![Fault::Status(404), Fault::Status(400)])),
        pexip(Matching::method(Method::GET), with(usual(), vec![Fault::Rubbish])),
        pexip(Matching::method(Method::POST), with(usual(), [late.clone(), vec![Fault::Rubbish]].concat())),
        pexip(
            Matching::method(Method::PATCH),
            with(usual(), [late, vec![Fault::Status(400), Fault::Status(404), Fault::Rubbish]].concat()),
        ),
        pexip(Matching::method(Method::DELETE), with(usual(), vec![Fault::Rubbish])),
        records(Matching::method(Method::GET), usual()),
        records(Matching::method(Method::PUT), usual()),
        records(Matching::method(Method::DELETE), usual()),
    ]
}

struct Proof {
    rooms: Rooms,
    world: World,
    instances: Vec<RwLock<Mortal>>,
    kills: AtomicUsize,
    /// The timer's instance, which runs the maintenance during the load and has no callers.
    maintainer: Instance,
    clocks: Clocks,
    ledger: Ledger,
    cases: Cases,
    /// Instant rooms to be looked up once more.
    later: Mutex<VecDeque<String>>,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_creates_under_faults_share_no_room_and_mix_no_tags() {
    prove(Rooms::Pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_instant_creates_under_faults_share_no_room_and_let_nobody_in_wrongly() {
    prove(Rooms::Instant).await;
}

async fn prove(rooms: Rooms) {
    let _machine = alone().await;
    let mut dice = Dice::throw("million");
    let (world, clocks) = (World::start().await, Clocks::default());
    let proof = Proof {
        rooms,
        instances: (0..INSTANCES).map(|_| RwLock::new(mortal(&world, rooms, &clocks))).collect(),
        kills: AtomicUsize::new(0),
        maintainer: Instance::start(&world, &settings(&world, rooms), clocks.of_an_instance()),
        world,
        clocks,
        ledger: Ledger::default(),
        cases: Cases::default(),
        later: Mutex::default(),
        over: AtomicBool::new(false),
    };
    proof.maintainer.run_maintenance().await;

    let calls_per_fault = match rooms {
        Rooms::Pool => CALLS_PER_FAULT,
        Rooms::Instant => CALLS_PER_FAULT_OF_RECORDS,
    };
    let storm = Storm::over(&proof.world, faults(&proof.world), calls_per_fault, dice.for_one_more());
    let started = Instant::now();
    let callers: Vec<_> = (0..INSTANCES * CALLERS_OF_EACH).map(|_| dice.for_one_more()).collect();
    let kills = dice.for_one_more();
    tokio::join!(
        join_all(callers.into_iter().enumerate().map(|(number, dice)| proof.call(number % INSTANCES, dice))),
        proof.run_maintenance(),
        proof.let_clocks_leap(),
        proof.copy_messages(),
        proof.kill(kills),
        proof.watch(started)
    );
    let took = started.elapsed();
    let past = storm.end();

    let figures = proof.ledger.figures();
    let rate = figures.rooms as u128 * 1000 / took.as_millis();
    let (kills, copies) = (proof.kills.load(Ordering::Relaxed), proof.ledger.copies());
    report("million", &format!("{figures}; {past}; {kills} kills, {copies} copies; {took:.1?}, {rate} a second"));
    proof.ledger.assert_every_room_is_one_citizens(&proof.world);
    let Proof { world, clocks, ledger, cases, instances, maintainer, .. } = proof;
    drop((instances, maintainer));
    becomes_quiet(&world, LAST_PAUSE_OF_A_DESTROY).await;
    let stock = let_everything_age(&world, &settings(&world, rooms), &clocks, &ledger, &cases);
    report("million", &stock.to_string());
}

fn mortal(world: &World, rooms: Rooms, clocks: &Clocks) -> Mortal {
    Mortal::start(world, &settings(world, rooms), clocks.of_an_instance())
}

impl Proof {
    async fn call(&self, instance: usize, mut dice: Dice) {
        while !self.over.load(Ordering::Relaxed) {
            let case = self.cases.next();
            if case.key().is_some() {
                self.repeat(instance, case, &mut dice).await;
            } else if let Some(name) = room_of(self.create_once(instance, case, &mut dice).await) {
                self.use_room(name, &mut dice).await;
            } else {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Two requests with one key at the same time, then one after the other until there is a room, and one more, each at
    /// any instance. The first one may have been killed.
    async fn repeat(&self, instance: usize, case: Case, dice: &mut Dice) {
        let other = dice.below(INSTANCES);
        let (first, second) = tokio::join!(self.create(instance, case), self.create(other, case));
        let mut room = room_of(first).or(room_of(second));
        for _ in 0..MOST_REPETITIONS {
            if room.is_some() {
                break;
            }
            sleep(dice.milliseconds(10, 50)).await;
            room = room_of(self.create(dice.below(INSTANCES), case).await);
        }
        if let Some(name) = room {
            self.create(dice.below(INSTANCES), case).await;
            self.use_room(name, dice).await;
        }
    }

    async fn create(&self, instance: usize, case: Case) -> Outcome {
        let asked = self.instances[instance].read().await.run(|instance| async move { instance.create(case).await });
        self.enter(case, asked.await)
    }

    /// Without a key, so that an instant room may begin later: by any time after the first request, the validity of a
    /// repetition is another one.
    async fn create_once(&self, instance: usize, case: Case, dice: &mut Dice) -> Outcome {
        if self.rooms == Rooms::Pool || !dice.percent(BEGUN_LATER) {
            return self.create(instance, case).await;
        }
        let from = self.clocks.now() + BEGINS_AFTER;
        let asked = self.instances[instance].read().await;
        let asked = asked.run(|instance| async move { instance.create_valid_from(case, from).await });
        self.enter(case, asked.await)
    }

    fn enter(&self, case: Case, outcome: Option<Outcome>) -> Outcome {
        let outcome = outcome.unwrap_or(Outcome::NoAnswer);
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }

    async fn use_room(&self, name: String, dice: &mut Dice) {
        match self.rooms {
            // A million rooms would fill the node.
            Rooms::Pool => {
                self.world.pexip.remove(&name);
                self.ledger.ended(&name);
            }
            Rooms::Instant => self.dial(name, dice).await,
        }
    }

    /// Several nodes look up the room at any instances, and once more when it may be over. Some callers end it.
    async fn dial(&self, name: String, dice: &mut Dice) {
        let nodes: Vec<_> = (0..NODES).map(|_| dice.below(INSTANCES)).collect();
        join_all(nodes.into_iter().map(|instance| self.look_up(instance, &name))).await;
        if dice.percent(ENDED_BY_CALLERS) {
            self.delete(dice.below(INSTANCES), &name).await;
            self.look_up(dice.below(INSTANCES), &name).await;
        }
        let mut later = self.later.lock().await;
        later.push_back(name);
        let due = if later.len() > LATER_LOOK_UPS { later.pop_front() } else { None };
        drop(later);
        if let Some(name) = due {
            self.look_up(dice.below(INSTANCES), &name).await;
        }
    }

    async fn look_up(&self, instance: usize, name: &str) {
        let asked = name.to_owned();
        let instance = self.instances[instance].read().await;
        let answer = instance.run(|instance| async move { instance.look_up(&asked).await });
        drop(instance);
        let answer = async { answer.await.unwrap_or(NodeAnswer::Nothing) };
        self.ledger.look_up(name, || self.clocks.now(), answer).await;
    }

    async fn delete(&self, instance: usize, name: &str) {
        self.ledger.perhaps_ended(name);
        let asked = name.to_owned();
        let instance = self.instances[instance].read().await;
        let status = instance.run(|instance| async move { instance.delete(&asked).await });
        drop(instance);
        if let Some(204 | 404) = status.await {
            self.ledger.ended(name);
        }
    }

    async fn copy_messages(&self) {
        let mut names = HashSet::new();
        while !self.over.load(Ordering::Relaxed) {
            sleep(BETWEEN_COPIES).await;
            for message in self.world.queue.messages(POOL_QUEUE) {
                if names.insert(message.text.clone()) {
                    // Before the message is there: whoever finds it must know why.
                    self.ledger.copied(&message.text);
                    self.world.queue.put_expiring(POOL_QUEUE, &message.text, LIFETIME_OF_COPIES);
                }
            }
        }
    }

    async fn kill(&self, mut dice: Dice) {
        let mut rooms = 0;
        while !self.over.load(Ordering::Relaxed) {
            sleep(dice.milliseconds(5, 50)).await;
            let now = self.ledger.figures().rooms;
            if now >= rooms + ROOMS_BETWEEN_KILLS {
                *self.instances[dice.below(INSTANCES)].write().await = mortal(&self.world, self.rooms, &self.clocks);
                self.kills.fetch_add(1, Ordering::Relaxed);
                rooms = now;
            }
        }
    }

    async fn run_maintenance(&self) {
        while !self.over.load(Ordering::Relaxed) {
            self.maintainer.run_maintenance().await;
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn let_clocks_leap(&self) {
        let mut rooms = 0;
        while !self.over.load(Ordering::Relaxed) {
            sleep(BETWEEN_LEAPS).await;
            let now = self.ledger.figures().rooms;
            if now >= rooms + ROOMS_BETWEEN_LEAPS {
                self.clocks.advance(&self.world, LEAP);
                rooms = now;
            }
        }
    }

    /// Reports progress, and ends the load when enough rooms were handed out: at least half of them from the pool, or to
    /// callers who got in.
    async fn watch(&self, started: Instant) {
        let (goal, limit) = match self.rooms {
            Rooms::Pool if is_full() => (A_MILLION, LONGEST_RUN),
            Rooms::Instant if is_full() => (A_HUNDRED_THOUSAND, LONGEST_RUN),
            Rooms::Pool => (SOME_THOUSAND, LONGEST_SHORT_RUN),
            Rooms::Instant => (SOME_INSTANT, LONGEST_SHORT_RUN),
        };
        let mut reported = Instant::now();
        loop {
            sleep(Duration::from_millis(500)).await;
            let (figures, took) = (self.ledger.figures(), started.elapsed());
            if reported.elapsed() > Duration::from_secs(30) {
                reported = Instant::now();
                let rooms = self.world.pexip.rooms().len();
                let rate = figures.rooms as u128 * 1000 / took.as_millis();
                report("million", &format!("{took:.0?}: {figures}; {rate} a second; {rooms} rooms on Pexip"));
            }
            assert!(took < limit, "{figures}");
            let has_killed = self.kills.load(Ordering::Relaxed) >= KILLS && figures.no_answer > 0;
            let is_used = match self.rooms {
                Rooms::Pool => figures.from_pool >= goal / 2,
                Rooms::Instant => figures.let_in >= goal / 2 && figures.turned_away >= goal / 10,
            };
            if figures.rooms >= goal && is_used && has_killed {
                break;
            }
        }
        self.over.store(true, Ordering::Relaxed);
    }
}

fn room_of(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Room { name, .. } => Some(name),
        Outcome::Refused { .. } | Outcome::NoAnswer => None,
    }
}
