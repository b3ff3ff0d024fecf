//! The simulators, which take as long for a call as the real systems. They have threads of their own, so that their
//! processor time is known: what they use, service and load tool lack.

use std::collections::HashMap;
use std::time::Duration;

use maxconf_simulators::world::POOL_QUEUE;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times, Traffic, World};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::callers::NODES;

/// Name of the simulators' threads.
pub(crate) const THREADS: &str = "simulators";

const STORAGE: Duration = Duration::from_millis(4);
const PEXIP: Duration = Duration::from_millis(50);
const OTHERS: Duration = Duration::from_millis(30);

/// Longer than any call takes.
const QUIET: Duration = Duration::from_millis(150);
const QUIET_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Backends {
    pub(crate) world: World,
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl Backends {
    pub(crate) async fn start() -> Result<Self, Error> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(2).thread_name(THREADS).enable_all().build()?;
        let world = runtime.spawn(World::start()).await?;
        for traffic in [world.queue.traffic(), world.blobs.traffic()] {
            traffic.inject(Matching::any(), Times::Always, Fault::Slow(STORAGE));
        }
        world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Slow(PEXIP));
        for traffic in [world.entra.traffic(), world.genesys.traffic()] {
            traffic.inject(Matching::any(), Times::Always, Fault::Slow(OTHERS));
        }
        Ok(Self { world, runtime: Some(runtime) })
    }

    /// Settings of a service with a pool of this size, besides limits that no load here reaches.
    pub(crate) fn settings(&self, pool: u32) -> HashMap<&'static str, String> {
        let mut settings = self.world.settings();
        settings.extend([
            ("POOL_TARGET_SIZE", pool.to_string()),
            ("POOL_MAX_ROOMS", "100000".to_owned()),
            ("PEXIP_REQUESTS_PER_MINUTE", "100000".to_owned()),
            ("PEXIP_MAX_IN_FLIGHT", "64".to_owned()),
            ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
            ("PUBLIC_RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
            ("PEXIP_POLICY_USERNAME", NODES.0.to_owned()),
            ("PEXIP_POLICY_PASSWORD", NODES.1.to_owned()),
        ]);
        settings
    }

    /// The same for a service whose rooms are all instant.
    pub(crate) fn instant_settings(&self) -> HashMap<&'static str, String> {
        let mut settings = self.settings(0);
        settings.insert("ROOM_SOURCE", "instant".to_owned());
        settings
    }

    /// Puts a full pool onto Pexip and into the queue, as an earlier maintenance run would have.
    pub(crate) fn fill_pool(&self, rooms: u32) {
        for number in 0..rooms {
            let name = format!("vbv-01jd5p3xk8qqqqqqqqqqq{number:05}");
            self.world.pexip.insert(room(&name).described("ready-until=2999-01-01T00:00:00Z"));
            self.world.queue.put(POOL_QUEUE, &name);
        }
    }

    /// Puts rooms onto Pexip that were handed out a moment ago. Returns their names.
    pub(crate) fn add_handed_out(&self, rooms: u32) -> Vec<String> {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
        let add = |number| {
            let name = format!("vbv-01jd5p3xk8zzzzzzzzzzz{number:05}");
            let room = room(&name).tagged(format!("https://id.gov.bc.ca/idcheck/{number}"));
            self.world.pexip.insert(room.described(format!("ready-until=2999-01-01T00:00:00Z handed-out={now}")));
            name
        };
        (0..rooms).map(add).collect()
    }

    /// Waits until the work behind the answers is over: no call comes any more.
    pub(crate) async fn become_quiet(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut calls = self.calls();
        loop {
            sleep(QUIET).await;
            let now = self.calls();
            if now == calls {
                return Ok(());
            }
            if start.elapsed() > QUIET_LIMIT {
                return Err("the service still makes calls long after the load".into());
            }
            calls = now;
        }
    }

    /// Calls to Pexip since the last time that calls were forgotten.
    pub(crate) fn calls_to_pexip(&self) -> usize {
        self.world.pexip.traffic().count(&Matching::any())
    }

    pub(crate) fn forget_calls(&self) {
        self.traffic().into_iter().for_each(Traffic::clear);
    }

    fn calls(&self) -> usize {
        self.traffic().into_iter().map(|traffic| traffic.count(&Matching::any())).sum()
    }

    fn traffic(&self) -> [&Traffic; 5] {
        let World { queue, blobs, pexip, entra, genesys } = &self.world;
        [queue.traffic(), blobs.traffic(), pexip.traffic(), entra.traffic(), genesys.traffic()]
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn room(name: &str) -> StoredRoom {
    StoredRoom::named(name).with_alias(name).with_pins("123456", "654321")
}
