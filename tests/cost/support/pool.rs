use std::collections::HashMap;

use maxconf_simulators::world::POOL_QUEUE;
use maxconf_simulators::{Matching, StoredRoom, Traffic, World};

use super::{Callers, NODES, eventually};

/// Rooms of the pool.
const TARGET: usize = 40;

/// Rooms that the instance keeps leased: as many as it keeps at most, so that their number does not depend on how fast
/// creates follow one another.
const PREFETCH: usize = 32;

/// A full pool.
pub(crate) struct Pool<'a>(&'a World);

impl<'a> Pool<'a> {
    /// Puts the rooms where an earlier maintenance run would have put them.
    pub(crate) fn fill(world: &'a World) -> Self {
        fill(world, TARGET);
        Self(world)
    }

    /// Settings of a service with this pool and without limits that a test could reach.
    pub(crate) fn settings(&self) -> HashMap<&'static str, String> {
        let mut settings = unlimited(self.0);
        settings.extend([
            ("POOL_TARGET_SIZE", TARGET.to_string()),
            ("POOL_PREFETCH", PREFETCH.to_string()),
            // Longer than a test on a busy machine: no lease ends.
            ("POOL_LEASE_SECONDS", "600".to_owned()),
        ]);
        settings
    }

    /// Waits until the instance has leased and looked up its rooms.
    pub(crate) async fn wait_until_ready(&self) {
        let look_ups = Matching::any().query_contains("name__in");
        eventually("the rooms are leased and looked up", || {
            self.leased() == PREFETCH && self.0.pexip.traffic().count(&look_ups) > 0 && self.is_answered()
        })
        .await;
    }

    /// A create and all the work that follows: the next room is leased and looked up, and another one is made.
    pub(crate) async fn create(&self, callers: &Callers) {
        self.traffic().into_iter().for_each(Traffic::clear);
        callers.create().await;
        eventually("another room is made", || self.0.queue.messages(POOL_QUEUE).len() == TARGET).await;
        self.wait_until_ready().await;
    }

    fn leased(&self) -> usize {
        self.0.queue.messages(POOL_QUEUE).iter().filter(|message| !message.visible).count()
    }

    fn is_answered(&self) -> bool {
        self.traffic().into_iter().flat_map(Traffic::log).all(|call| call.status.is_some())
    }

    fn traffic(&self) -> [&Traffic; 3] {
        [self.0.queue.traffic(), self.0.blobs.traffic(), self.0.pexip.traffic()]
    }
}

/// Puts this many ready rooms onto Pexip and into the queue.
pub(crate) fn fill(world: &World, rooms: usize) {
    for number in 0..rooms {
        let name = format!("vbv-01jd5p3xk8qqqqqqqqqqqq{number:04}");
        let room = StoredRoom::named(&name).with_alias(&name).with_pins("123456", "654321");
        world.pexip.insert(room.described("ready-until=2999-01-01T00:00:00Z"));
        world.queue.put(POOL_QUEUE, &name);
    }
}

/// Settings of a service in this world without limits that a test could reach.
pub(crate) fn unlimited(world: &World) -> HashMap<&'static str, String> {
    let mut settings = world.settings();
    settings.extend([
        ("PEXIP_REQUESTS_PER_MINUTE", "100000".to_owned()),
        ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
        ("PUBLIC_RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
        ("PEXIP_POLICY_USERNAME", NODES.0.to_owned()),
        ("PEXIP_POLICY_PASSWORD", NODES.1.to_owned()),
    ]);
    settings
}

/// The same for a service whose rooms are all instant.
pub(crate) fn instant(world: &World) -> HashMap<&'static str, String> {
    let mut settings = unlimited(world);
    settings.extend([("ROOM_SOURCE", "instant".to_owned()), ("POOL_TARGET_SIZE", "0".to_owned())]);
    settings
}
