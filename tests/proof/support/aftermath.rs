use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use maxconf::domain::Marks;
use maxconf_simulators::StoredRoom;
use maxconf_simulators::pexip::Role;
use time::OffsetDateTime;
use tokio::runtime;

use super::{Cases, Clocks, Instance, Ledger, NodeAnswer, POOL_QUEUE, Settings, Stock, World, eventually, report};

/// Longer than the interval between a sweep's two presence snapshots.
const BETWEEN_SNAPSHOTS: Duration = Duration::from_secs(31);

/// Added to an age to be past it despite rounding.
const A_LITTLE: Duration = Duration::from_secs(10);

/// A room is ended by the second run that finds it empty.
const RUNS: usize = 2;

/// The further runs are for a call that fails, and for a machine so busy that a run ends before its sweep does: both
/// leave rooms to the next run.
const MOST_RUNS: usize = 6;

/// Instant rooms that somebody stays in beyond their validity.
const OCCUPIED: usize = 20;

/// Lets all rooms exceed their ages, in two steps, while a new instance runs the maintenance; no other instance may
/// run. Asserts after each step that exactly the rooms past their age are gone.
///
/// The rooms are those that the proof left. Ages pass on injected clocks, and the half minute between a sweep's
/// snapshots on the paused clock of the instance's own runtime, so the service needs no shorter interval for the proof.
pub(crate) fn let_everything_age(
    world: &World,
    settings: &Settings,
    clocks: &Clocks,
    ledger: &Ledger,
    cases: &Cases,
) -> Stock {
    let stock = Stock::take(world, ledger, cases);
    let age_all = || {
        let paused = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        paused.block_on(Ages { world, settings, clocks, ledger }.pass(&stock));
    };
    // On a separate thread: this one belongs to the simulators' runtime.
    thread::scope(|scope| scope.spawn(age_all).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    stock
}

struct Ages<'a> {
    world: &'a World,
    settings: &'a Settings,
    clocks: &'a Clocks,
    ledger: &'a Ledger,
}

impl Ages<'_> {
    async fn pass(&self, stock: &Stock) {
        // Long time limits, so that no call fails on a busy machine.
        let settings =
            self.settings.clone().set("REQUEST_DEADLINE_SECONDS", 30).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 25);
        let instance = Instance::start(self.world, &settings, self.clocks.of_an_instance());
        let margin = self.settings.seconds("SWEEP_MARGIN_SECONDS");
        let unused = self.settings.seconds("POOL_ROOM_MAX_AGE_SECONDS") + margin + A_LITTLE;
        let handed_out = self.settings.seconds("ROOM_MAX_LIFETIME_SECONDS") + margin + A_LITTLE;

        self.clocks.advance(self.world, unused);
        let now = self.clocks.now();
        let before = self.times_of_hand_out();
        let untagged: HashSet<_> = stock.pool.iter().chain(&stock.orphans).collect();
        self.sweep_until_gone(&instance, |room| untagged.contains(&room.name)).await;
        let after = self.times_of_hand_out();
        let is_swept = |name: &&String| !after.contains_key(*name) && !self.ledger.may_end(name);
        for name in stock.handed_out.iter().chain(&stock.unknown).filter(is_swept) {
            let at = before[name].expect("the stock has rejected tagged rooms without a mark");
            assert!(now > at + handed_out - A_LITTLE, "{name} was swept within its lifetime");
        }

        self.clocks.advance(self.world, handed_out);
        let known: HashSet<_> = after.keys().collect();
        self.sweep_until_gone(&instance, |room| known.contains(&room.name)).await;
        self.assert_nothing_but_the_pool_is_left();
        self.let_validity_pass(stock, &instance).await;
    }

    /// Nobody gets into an instant room that is ended, or into any after its validity, and whoever is inside is
    /// disconnected.
    async fn let_validity_pass(&self, stock: &Stock, instance: &Instance) {
        let open: Vec<_> = stock.open.iter().chain(&stock.unanswered).collect();
        let occupied = &open[..open.len().min(OCCUPIED)];
        for name in occupied {
            self.world.pexip.join(name, Role::Guest);
        }
        for name in &stock.ended {
            assert!(!is_let_in(instance, name).await, "{name} is ended");
        }
        self.clocks.advance(self.world, self.settings.seconds("INSTANT_ROOM_MAX_LIFETIME_SECONDS") + A_LITTLE);
        for name in &open {
            assert!(!is_let_in(instance, name).await, "{name} is past its validity");
        }
        let inside = || occupied.iter().filter(|name| self.world.pexip.is_running(name)).collect::<Vec<_>>();
        let mut reports = Vec::new();
        while !inside().is_empty() {
            assert!(
                reports.len() < MOST_RUNS,
                "somebody is in {:#?} past their validity, runs: {reports:#?}",
                inside()
            );
            reports.push(instance.run_maintenance().await);
        }
    }

    /// Fails if rooms that are past their age are left after [`MOST_RUNS`].
    async fn sweep_until_gone(&self, instance: &Instance, is_past_its_age: impl Fn(&StoredRoom) -> bool) {
        let left = || self.world.pexip.rooms().into_iter().filter(&is_past_its_age).collect::<Vec<_>>();
        let mut reports = Vec::new();
        while reports.len() < RUNS || !left().is_empty() {
            assert!(reports.len() < MOST_RUNS, "still there past their age: {:#?}, runs: {reports:#?}", left());
            reports.push(instance.run_maintenance().await);
            // Lets background calls of the instance finish before the clock leaps.
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::time::pause();
            tokio::time::advance(BETWEEN_SNAPSHOTS).await;
            tokio::time::resume();
        }
        if reports.len() > RUNS {
            report("aftermath", &format!("more runs than two: {reports:#?}"));
        }
    }

    fn times_of_hand_out(&self) -> HashMap<String, Option<OffsetDateTime>> {
        let rooms = self.world.pexip.rooms().into_iter();
        rooms.map(|room| (room.name, Marks::read(&room.description).handed_out)).collect()
    }

    fn assert_nothing_but_the_pool_is_left(&self) {
        let rooms = self.world.pexip.rooms();
        let messages: HashSet<_> =
            self.world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
        let target = self.settings.number("POOL_TARGET_SIZE");
        assert_eq!(rooms.len() as u64, target, "rooms that outlived their ages, or a pool that is not full");
        for StoredRoom { name, tag, .. } in &rooms {
            assert!(tag.is_empty() && messages.contains(name), "{name} is not in the pool");
            assert!(self.ledger.case_of(name).is_none(), "{name} was handed out and is in the pool");
        }
    }
}

/// Whether somebody who dials this room is let in. A look-up without an answer says nothing, so it is repeated.
async fn is_let_in(instance: &Instance, name: &str) -> bool {
    let is_in = Cell::new(false);
    eventually("a look-up is answered", async || {
        let answer = instance.look_up(name).await;
        is_in.set(matches!(answer, NodeAnswer::LetIn(_)));
        answer != NodeAnswer::Nothing
    })
    .await;
    is_in.get()
}
