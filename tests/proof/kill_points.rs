//! A process is killed at each call of a create with a key. The repetition, at another process, gets the first one's room
//! if that is noted, else another one, and each room goes to one request.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times, Traffic};
use reqwest::Method;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use crate::support::{
    Caller, Cases, LIMIT, Ledger, Outcome, POOL_QUEUE, Program, Rooms, Settings, World, alone, eventually, report,
};

/// The calls of a create with a key that change something, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    MakeKey,
    MakeClaim,
    DeleteMessage,
    WriteTag,
    MakeInstantRoom,
    NoteRoom,
}

const CALLS: [Call; 5] = [Call::MakeKey, Call::MakeClaim, Call::DeleteMessage, Call::WriteTag, Call::NoteRoom];

/// The same where the room is an instant room.
const CALLS_OF_INSTANT: [Call; 3] = [Call::MakeKey, Call::MakeInstantRoom, Call::NoteRoom];

/// When the killed process's call is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    BeforeRepetition,
    AfterRepetition,
}

impl Call {
    fn matching(self) -> Matching {
        match self {
            Self::MakeKey | Self::NoteRoom => Matching::method(Method::PUT).path_contains("/requests%2F"),
            Self::MakeClaim => Matching::method(Method::PUT).path_contains("/claims%2F"),
            Self::MakeInstantRoom => Matching::method(Method::PUT).path_contains("/instant%2F"),
            Self::DeleteMessage => Matching::method(Method::DELETE).path_contains("/messages/"),
            Self::WriteTag => Matching::method(Method::PATCH),
        }
    }

    fn traffic(self, world: &World) -> &Traffic {
        match self {
            Self::MakeKey | Self::MakeClaim | Self::MakeInstantRoom | Self::NoteRoom => world.blobs.traffic(),
            Self::DeleteMessage => world.queue.traffic(),
            Self::WriteTag => world.pexip.traffic(),
        }
    }

    /// The number of the call among those like it.
    fn number(self) -> usize {
        if self == Self::NoteRoom { 2 } else { 1 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_at_each_call_the_key_gets_one_room() {
    let _machine = alone().await;
    let from_pool = CALLS.map(|call| (Rooms::Pool, call));
    let instant = CALLS_OF_INSTANT.map(|call| (Rooms::Instant, call));
    let rows = from_pool.into_iter().chain(instant).flat_map(|(rooms, call)| {
        [Late::BeforeRepetition, Late::AfterRepetition].map(|late| one_kill(rooms, call, late))
    });
    join_all(rows).await;
}

async fn one_kill(rooms: Rooms, call: Call, late: Late) {
    let kill = async { while !is_killed_in_time(rooms, call, late).await {} };
    timeout(LIMIT, kill).await.expect("a kill while the call waits");
}

/// `false` if the call was given up, and the create went on, before the process was killed: the machine is busy.
async fn is_killed_in_time(rooms: Rooms, call: Call, late: Late) -> bool {
    let row = format!("{rooms:?}: {call:?}, carried out {late:?}");
    let world = World::start().await;
    // The key of a killed request is free ten seconds after the deadline.
    let settings =
        Settings::without_limits(&world).set("REQUEST_DEADLINE_SECONDS", 4).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 2);
    let settings = settings.with_rooms(rooms);
    let first = Program::start(&settings).await;
    let url = first.url.clone();
    let caller = Caller::of(&world.entra);
    let (ledger, case) = (Ledger::default(), Cases::default().next());
    assert!(case.key().is_some(), "the first case has one");
    caller.run_maintenance(&first.url).await.expect("an answer");
    let is_leased = || world.queue.messages(POOL_QUEUE).iter().any(|message| !message.visible);
    let leased = async || rooms == Rooms::Instant || is_leased();
    eventually("a room is leased", leased).await;

    let traffic = call.traffic(&world);
    for _ in 1..call.number() {
        traffic.inject(call.matching(), Times::Once, Fault::Slow(Duration::ZERO));
    }
    traffic.inject(call.matching(), Times::Once, Fault::Stall);
    let is_waiting = async || traffic.count(&call.matching()) >= call.number();
    let (create, ()) = tokio::join!(caller.create(&url, case), async {
        eventually("the call waits", is_waiting).await;
        first.kill();
    });
    if create != Outcome::NoAnswer {
        return false;
    }
    if late == Late::BeforeRepetition {
        traffic.heal();
    }

    let second = Program::start(&settings).await;
    let (mut got, mut refused) = (Vec::new(), 0);
    while got.len() < 2 {
        let outcome = caller.create(&second.url, case).await;
        ledger.enter(&world, case, &outcome);
        match outcome {
            Outcome::Room { name, replayed, .. } => got.push((name, replayed)),
            Outcome::Refused { status: 410, .. } | Outcome::NoAnswer => panic!("{row}: {outcome:?}"),
            Outcome::Refused { .. } => {
                refused += 1;
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    traffic.heal();
    if rooms == Rooms::Instant {
        let name = &got[0].0;
        ledger.look_up(name, OffsetDateTime::now_utc, caller.look_up(&second.url, name)).await;
        assert_eq!(ledger.figures().let_in, 1, "{row}");
    }
    report("kill_points", &format!("{row}: {refused} refused, then {got:?}"));
    ledger.assert_every_room_is_one_citizens(&world);
    if call == Call::NoteRoom && late == Late::BeforeRepetition {
        assert!(got[0].1, "{row}: the killed request's room is noted: {got:?}");
    }
    assert!(got[1].1, "{row}: {got:?}");
    true
}
