//! Lists of Pexip that do not end or are larger than any real one: nothing is decided by what was read of them.

use std::ffi::OsString;
use std::time::Duration;

use maxconf::config::Config;
use maxconf::domain::Clock;
use maxconf::outbound::client_builder;
use maxconf::pexip::PexipClient;
use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, MakePage, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{TAG, TestApp, World, stop_time, time_between_readings_passes, time_passes};

const PAGE: usize = 500;

/// Calls of one list and of what surrounds it. Some more are needed than for 100,000 objects, because pages overlap.
const MOST_CALLS: usize = 250;

/// After so many pages the lists here do end, so that a service that reads on fails soon.
const ENDLESS: usize = 400;

const ROOM: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
const QUEUE_OF_AGENTS: &str = "sip:queue@sbc.example.org";

fn page(has_next: bool, objects: impl IntoIterator<Item = Value>) -> String {
    let next = has_next.then_some("/api/admin/next/");
    let objects: Vec<_> = objects.into_iter().collect();
    json!({ "meta": { "next": next, "total_count": 1 }, "objects": objects }).to_string()
}

fn room(number: usize) -> Value {
    json!({ "id": number + 1000, "name": format!("vbv-{number:026}") })
}

fn running(number: usize) -> Value {
    let name = if number == 0 { ROOM.to_owned() } else { format!("another-{number}") };
    json!({ "id": format!("running-{number}"), "name": name })
}

/// The first is the leg of the room's automatic participant: by it alone, nobody would be in the room.
fn participant(number: usize) -> Value {
    let (conference, direction) =
        if number == 0 { (ROOM.to_owned(), "out") } else { (format!("another-{number}"), "in") };
    json!({
        "id": format!("participant-{number}"), "conference": conference, "call_direction": direction,
        "destination_alias": QUEUE_OF_AGENTS,
    })
}

fn with_huge_name(mut object: Value, member: &str) -> Value {
    object[member] = "n".repeat(100_000).into();
    object
}

/// How a list goes wrong, and its page at an offset.
type Kind = (&'static str, fn(usize) -> String);

const ROOMS: [Kind; 4] = [
    ("new names", |from| page(from < ENDLESS * PAGE, (from..from + PAGE).map(room))),
    ("the same page", |from| page(from < ENDLESS * PAGE, (0..PAGE).map(room))),
    ("huge names", |from| page(from < ENDLESS, [with_huge_name(room(from), "name")])),
    ("an empty page", |_| page(true, [])),
];

const RUNNING: [Kind; 5] = [
    ("new names", |from| page(from < ENDLESS * PAGE, (from..from + PAGE).map(running))),
    ("the same page", |_| page(true, (0..PAGE).map(running))),
    ("huge names", |from| page(from < ENDLESS, [running(from), with_huge_name(running(from + 1), "name")])),
    ("pages of little more than the overlap", |from| page(from < ENDLESS, [running(from), running(from + 1)])),
    ("an empty page", |_| page(true, [])),
];

const PARTICIPANTS: [Kind; 5] = [
    ("new names", |from| page(from < ENDLESS * PAGE, (from..from + PAGE).map(participant))),
    ("the same page", |_| page(true, (0..PAGE).map(participant))),
    ("huge names", |from| {
        page(from < ENDLESS, [participant(from), with_huge_name(participant(from + 1), "conference")])
    }),
    ("pages of little more than the overlap", |from| page(from < ENDLESS, [participant(from), participant(from + 1)])),
    ("an empty page", |_| page(true, [])),
];

/// What a run did that it must not do: too many reads, writes, deletes.
fn excess(app: &TestApp) -> [usize; 3] {
    let calls = |method| app.pexip.traffic().count(&Matching::method(method));
    let reads = calls(Method::GET);
    [if reads > MOST_CALLS { reads } else { 0 }, calls(Method::POST), calls(Method::DELETE)]
}

fn inject(app: &TestApp, path: &str, make: fn(usize) -> String) {
    let list = Matching::method(Method::GET).path_contains(path).query_contains("offset=");
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(list, Times::Always, Fault::Page(MakePage(make)));
}

#[tokio::test]
async fn no_room_is_made_or_ended_by_an_endless_list_of_rooms() {
    let builder = TestApp::with().set("POOL_TARGET_SIZE", 3).set("PEXIP_REQUESTS_PER_MINUTE", 100_000);
    let app = builder.start().await;
    app.warm_up().await;

    let mut wrong = Vec::new();
    for (kind, make) in ROOMS {
        inject(&app, "configuration/v1/conference", make);
        let run = app.run_maintenance().await;
        app.pexip.traffic().heal();
        if excess(&app) != [0; 3] || run.text.contains("made") {
            wrong.push((kind, excess(&app), run.text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    app.fill_pool().await;
    assert_eq!(app.pexip.rooms().len(), 3);
    assert_eq!(app.create_room().await.header("room-source"), "pool");
}

#[tokio::test]
async fn no_room_is_ended_by_an_endless_list_of_who_is_there() {
    let builder = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUESTS_PER_MINUTE", 100_000);
    let app = builder.start().await;
    app.pexip.add_automatic_participant(7, QUEUE_OF_AGENTS);
    let since = (OffsetDateTime::now_utc() - time::Duration::hours(6)).format(&Rfc3339).expect("a time");
    let expired = StoredRoom::named(ROOM).tagged(TAG).described(format!("handed-out={since}"));
    app.pexip.insert(StoredRoom { automatic_participants: vec![7], ..expired });
    app.pexip.join(ROOM, Role::Guest);
    app.pexip.dial_out_leg(ROOM);

    let mut wrong = Vec::new();
    let lists = [("status/v1/conference", RUNNING), ("status/v1/participant", PARTICIPANTS)];
    for (path, (kind, make)) in lists.into_iter().flat_map(|(path, kinds)| kinds.map(|kind| (path, kind))) {
        for _ in 0..2 {
            inject(&app, path, make);
            app.run_maintenance().await;
            app.pexip.traffic().heal();
            if excess(&app) != [0; 3] {
                wrong.push((path, kind, excess(&app)));
            }
            time_between_readings_passes().await;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    app.pexip.leave_all(ROOM);
    for _ in 0..2 {
        app.fill_pool().await;
        time_between_readings_passes().await;
    }
    assert_eq!(app.pexip.rooms().len(), 0);
}

#[tokio::test]
async fn a_list_takes_forty_seconds_at_most_and_may_have_rooms_over_the_hard_cap() {
    let world = World::start().await;
    let settings = world.settings();
    let mut config = Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used");
    config.pexip.request_timeout = Duration::from_secs(100);
    let http = client_builder(Duration::from_secs(2)).build().expect("a client");
    let prefix = config.room.prefix.clone();
    let pexip = PexipClient::new(&config.pexip, &config.pexip_account, None, prefix, http, Clock::system());
    for number in 0..=PAGE {
        world.pexip.insert(StoredRoom::named(format!("vbv-{number:026}")));
    }
    assert_eq!(pexip.list_ours(2).await.expect("all rooms").conferences.len(), PAGE + 1);

    world.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let _time = stop_time();
    let started = tokio::time::Instant::now();
    let list = async { (pexip.list_ours(2).await, started.elapsed()) };
    let clock = async {
        for _ in 0..900 {
            time_passes(Duration::from_millis(100)).await;
        }
    };
    let ((list, took), ()) = tokio::join!(list, clock);
    assert!(list.is_err());
    assert!((40..=41).contains(&took.as_secs()), "{took:?}");
}
