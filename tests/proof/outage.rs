//! What an outage of the node or of storage may cost, and how the service recovers from it.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::pexip::PASSWORD;
use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use tokio::time::Instant;

use crate::support::{
    Cases, Clocks, Instance, Ledger, Outcome, POOL_QUEUE, RECORDS, Settings, World, eventually, report,
};

const TARGET: usize = 50;
const CREATES: usize = 100;

/// Rooms that an outage may cost until the circuit breakers are open.
const A_HANDFUL: usize = 8;

/// How long a circuit breaker stays open before it lets one call probe the node.
const BREAKER_PAUSE: Duration = Duration::from_secs(5);

struct Proof {
    world: World,
    instance: Instance,
    ledger: Ledger,
    cases: Cases,
}

impl Proof {
    async fn with_a_full_pool() -> Self {
        Self::with_a_full_pool_and(|settings| settings).await
    }

    async fn with_a_full_pool_and(more: impl FnOnce(Settings) -> Settings) -> Self {
        let world = World::start().await;
        let settings = Settings::of(&world).set("POOL_TARGET_SIZE", TARGET).set("PEXIP_REQUESTS_PER_MINUTE", 3000);
        let settings = more(settings);
        let instance = Instance::start(&world, &settings, Clocks::default().of_an_instance());
        instance.run_maintenance().await;
        let proof = Self { world, instance, ledger: Ledger::default(), cases: Cases::default() };
        assert_eq!(proof.messages(), TARGET);
        let is_leased = async || proof.world.queue.messages(POOL_QUEUE).iter().any(|message| !message.visible);
        eventually("a room is leased", is_leased).await;
        proof
    }

    fn messages(&self) -> usize {
        self.world.queue.messages(POOL_QUEUE).len()
    }

    async fn create(&self) -> Outcome {
        let case = self.cases.next();
        let outcome = self.instance.create(case).await;
        self.ledger.enter(&self.world, case, &outcome);
        outcome
    }

    fn claimed(&self) -> usize {
        let claims = self.world.queue.traffic().log().into_iter();
        claims.filter(|exchange| exchange.method == Method::DELETE && exchange.status == Some(204)).count()
    }

    /// Deletes of messages that arrived at the queue, whether or not they were answered.
    fn claims_tried(&self) -> usize {
        self.world.queue.traffic().count(&Matching::method(Method::DELETE).path_contains("/messages/"))
    }

    /// A hundred citizens arrive at once. On a slow machine a breaker's pause may end before all are answered, and each
    /// probe may cost another room.
    async fn costs_at_most_a_handful(&self, outage: &str) {
        self.world.queue.traffic().clear();
        let started = Instant::now();
        let outcomes = join_all((0..CREATES).map(|_| self.create())).await;
        let (claimed, took) = (self.claimed(), started.elapsed());
        report("outage", &format!("{outage}: {claimed} rooms claimed in {took:.1?}; {}", self.ledger.figures()));
        assert!(
            outcomes.iter().all(|outcome| !matches!(outcome, Outcome::Room { from_pool: true, .. })),
            "{outcomes:?}"
        );
        let probes = usize::try_from(took.as_secs() / BREAKER_PAUSE.as_secs()).expect("a small number");
        assert!(claimed <= A_HANDFUL + probes, "{outage}: {claimed} rooms were claimed, with {probes} probes");
    }

    async fn recovers(&self, outage: &str) {
        let created = async || matches!(self.create().await, Outcome::Room { from_pool: true, .. });
        let after = eventually("rooms come from the pool again", created).await;
        let full = async || {
            self.instance.run_maintenance().await;
            self.messages() >= TARGET
        };
        let full_after = eventually("the pool is full again", full).await;
        report("outage", &format!("{outage}: a room after {after:.1?}, a full pool {full_after:.1?} later"));
        self.ledger.assert_every_room_is_one_citizens(&self.world);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_costs_a_handful_of_rooms() {
    let proof = Proof::with_a_full_pool().await;
    proof.world.pexip.set_password("changed-by-an-operator");
    proof.costs_at_most_a_handful("password refused").await;
    proof.world.pexip.set_password(PASSWORD);
    proof.recovers("password refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_down_costs_a_handful_of_rooms() {
    let proof = Proof::with_a_full_pool().await;
    proof.world.pexip.stop().await;
    proof.costs_at_most_a_handful("node down").await;
    proof.world.pexip.restart().await;
    proof.recovers("node down").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_rejects_every_tag_costs_a_handful_of_rooms() {
    every_tag_is_answered_with(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_fails_every_tag_costs_a_handful_of_rooms() {
    every_tag_is_answered_with(500).await;
}

async fn every_tag_is_answered_with(status: u16) {
    let (proof, outage) = (Proof::with_a_full_pool().await, format!("{status} for every tag"));
    proof.world.pexip.traffic().inject(Matching::method(Method::PATCH), Times::Always, Fault::Status(status));
    proof.costs_at_most_a_handful(&outage).await;
    proof.world.pexip.traffic().heal();
    proof.recovers(&outage).await;
}

/// What fails of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Queue,
    Records,
}

/// How it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    Down,
    Every(Fault),
    /// Each room has the record of a claim that nobody knows of.
    Conflicts,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_that_is_down_costs_a_handful_of_rooms_and_creates_go_on() {
    creates_go_on_without(Storage::Queue, Failure::Down).await;
    creates_go_on_without(Storage::Records, Failure::Down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_that_is_slow_costs_a_handful_of_rooms_and_creates_go_on() {
    // Longer than a call to storage may take.
    let slow = || Failure::Every(Fault::Slow(Duration::from_secs(20)));
    tokio::join!(creates_go_on_without(Storage::Queue, slow()), creates_go_on_without(Storage::Records, slow()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_that_refuses_costs_a_handful_of_rooms_and_creates_go_on() {
    for status in [403, 503] {
        creates_go_on_without(Storage::Queue, Failure::Every(Fault::Status(status))).await;
        creates_go_on_without(Storage::Records, Failure::Every(Fault::Status(status))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_go_on_while_every_claim_is_a_conflict() {
    creates_go_on_without(Storage::Records, Failure::Conflicts).await;
}

/// By the table in the API's contract: a create gets a direct room; one that promises something for its key needs the
/// records.
async fn creates_go_on_without(storage: Storage, failure: Failure) {
    let outage = format!("{storage:?}: {failure:?}");
    let proof = Proof::with_a_full_pool_and(|settings| {
        settings.set("POOL_DIRECT_MAX", CREATES).set("REQUEST_DEADLINE_SECONDS", 110)
    })
    .await;
    let world = &proof.world;
    let traffic: &Traffic = match storage {
        Storage::Queue => world.queue.traffic(),
        Storage::Records => world.blobs.traffic(),
    };
    match &failure {
        Failure::Down if storage == Storage::Queue => world.queue.stop().await,
        Failure::Down => world.blobs.stop().await,
        Failure::Every(fault) => traffic.inject(Matching::any(), Times::Always, fault.clone()),
        Failure::Conflicts => {
            for message in world.queue.messages(POOL_QUEUE) {
                let claim = r#"{"claim_id":"another's","claimed_at":"2026-01-01T00:00:00Z"}"#;
                world.blobs.put(RECORDS, &format!("claims/{}", message.text), claim);
            }
        }
    }
    world.queue.traffic().clear();

    let cases: Vec<_> = (0..CREATES).map(|_| proof.cases.next()).collect();
    let outcomes = join_all(cases.iter().map(|case| proof.instance.create(*case))).await;

    let keys_need_more = storage == Storage::Records && failure != Failure::Conflicts;
    for (case, outcome) in cases.iter().zip(&outcomes) {
        proof.ledger.enter(world, *case, outcome);
        let expected = match outcome {
            Outcome::Room { from_pool, .. } => !from_pool && (case.key().is_none() || !keys_need_more),
            Outcome::Refused { status: 503, code } => {
                keys_need_more && case.key().is_some() && code == "records_unavailable"
            }
            Outcome::Refused { .. } | Outcome::NoAnswer => false,
        };
        assert!(expected, "{outage}: {case:?}: {outcome:?}");
    }
    let tried = proof.claims_tried();
    report(
        "outage",
        &format!("{outage}: {} rooms claimed, {tried} tried; {}", proof.claimed(), proof.ledger.figures()),
    );
    if failure != Failure::Conflicts {
        assert!(tried <= A_HANDFUL, "{outage}: {tried} claims were tried");
    }
    match failure {
        Failure::Down if storage == Storage::Queue => world.queue.restart().await,
        Failure::Down => world.blobs.restart().await,
        Failure::Every(_) => traffic.heal(),
        // Only the timer makes new rooms: a room found claimed counts as refilled when it was taken.
        Failure::Conflicts => drop(proof.instance.run_maintenance().await),
    }
    proof.recovers(&outage).await;
}

/// While the node answers no creation of a VMR, a refill holds all the calls that it may have in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refill_makes_no_citizen_wait() {
    const CALL: Duration = Duration::from_millis(100);
    const CITIZENS: usize = 10;

    // No call may end by its time limit: what fails opens the circuit breaker.
    let patient =
        |settings: Settings| settings.set("REQUEST_DEADLINE_SECONDS", 110).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 100);
    let proof = Proof::with_a_full_pool_and(patient).await;
    for room in proof.world.pexip.rooms().iter().skip(TARGET / 2) {
        proof.world.pexip.remove(&room.name);
    }
    let (traffic, making) = (proof.world.pexip.traffic(), Matching::method(Method::POST));
    traffic.clear();
    traffic.inject(making.clone(), Times::Always, Fault::Stall);
    traffic.inject(Matching::any(), Times::Always, Fault::Slow(CALL));

    let creates = async {
        eventually("the refill makes rooms", async || traffic.count(&making) > 0).await;
        for _ in 0..CITIZENS {
            let outcome = proof.create().await;
            assert!(matches!(outcome, Outcome::Room { from_pool: true, .. }), "{outcome:?}");
        }
        let made = traffic.log().iter().filter(|call| call.method == Method::POST && call.status.is_some()).count();
        assert_eq!(made, 0, "the refill stayed stalled during the creates");
        traffic.heal();
    };
    let (refill, ()) = tokio::join!(proof.instance.run_maintenance(), creates);

    report("outage", &format!("{CITIZENS} creates beside a refill: {}; {refill}", proof.ledger.figures()));
}
