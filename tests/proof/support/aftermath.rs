use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use maxconf::domain::Marks;
use maxconf_simulators::StoredRoom;
use time::OffsetDateTime;
use tokio::runtime;

use super::{Cases, Clocks, Instance, Ledger, POOL_QUEUE, Settings, Stock, World};

/// More than lies between a sweep's two looks at a room.
const BETWEEN_LOOKS: Duration = Duration::from_secs(31);

/// Added to an age to be past it, whatever is rounded on the way.
const A_LITTLE: Duration = Duration::from_secs(10);

/// Lets everything grow older than it may, in two steps, with a fresh instance that keeps house; nobody else may be at
/// work any more. Asserts after each step that what is over is gone, and that nothing else is.
///
/// The rooms are what the proof left, the ages pass on injected clocks, and the half minute between a sweep's looks
/// passes on the paused clock of the instance's own runtime. So the service needs no shorter one for this.
pub(crate) fn let_everything_age(
    world: &World,
    settings: &Settings,
    clocks: &Clocks,
    ledger: &Ledger,
    cases: &Cases,
) -> Stock {
    let stock = Stock::take(world, ledger, cases);
    let keeps_house = || {
        let paused = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        paused.block_on(Ages { world, settings, clocks, ledger }.pass(&stock));
    };
    // In a thread of its own: this one belongs to the runtime on which the simulators run.
    thread::scope(|scope| scope.spawn(keeps_house).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
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
        // The proof is over: nothing is in a hurry any more, however busy the machine is.
        let patient =
            self.settings.clone().set("REQUEST_DEADLINE_SECONDS", 30).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 25);
        let instance = Instance::start(self.world, &patient, self.clocks.of_an_instance());
        let margin = self.settings.seconds("SWEEP_MARGIN_SECONDS");
        let unused = self.settings.seconds("POOL_ROOM_MAX_AGE_SECONDS") + margin + A_LITTLE;
        let handed_out = self.settings.seconds("ROOM_MAX_LIFETIME_SECONDS") + margin + A_LITTLE;

        self.clocks.advance(self.world, unused);
        let now = self.clocks.now();
        let before = self.times_of_hand_out();
        self.look_twice(&instance).await;
        let after = self.times_of_hand_out();
        for name in stock.pool.iter().chain(&stock.orphans) {
            assert!(!after.contains_key(name), "{name} is past its age and still there");
        }
        for name in stock.handed_out.iter().chain(&stock.unknown).filter(|name| !after.contains_key(*name)) {
            let at = before[name].expect("a tag and no mark was a fault of the stock");
            assert!(now > at + handed_out - A_LITTLE, "{name} was swept within its lifetime");
        }

        self.clocks.advance(self.world, handed_out);
        self.look_twice(&instance).await;
        self.assert_nothing_but_the_pool_is_left();
    }

    async fn look_twice(&self, instance: &Instance) {
        for _ in 0..2 {
            let said = instance.run_maintenance().await;
            assert!(said.contains("failed 0"), "{said}");
            // What the instance asks in the background must not meet a clock that leaps.
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::time::pause();
            tokio::time::advance(BETWEEN_LOOKS).await;
            tokio::time::resume();
        }
    }

    fn times_of_hand_out(&self) -> HashMap<String, Option<OffsetDateTime>> {
        let rooms = self.world.pexip.rooms().into_iter();
        rooms.map(|room| (room.name, Marks::read(&room.description).handed_out)).collect()
    }

    fn assert_nothing_but_the_pool_is_left(&self) {
        let rooms = self.world.pexip.rooms();
        let tickets: HashSet<_> =
            self.world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
        let target = self.settings.number("POOL_TARGET_SIZE");
        assert_eq!(rooms.len() as u64, target, "rooms that no age has ended, or a pool that is not full");
        for StoredRoom { name, tag, .. } in &rooms {
            assert!(tag.is_empty() && tickets.contains(name), "{name} is not in the pool");
            assert!(self.ledger.case_of(name).is_none(), "{name} was handed out and is in the pool");
        }
    }
}
