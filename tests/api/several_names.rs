//! A node that supports, refuses or ignores look-ups of several names in one call: no room is lost by what it answers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use maxconf_simulators::pexip::{InLookup, Role};
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;

use crate::support::{
    POOL_QUEUE, TAG, TestApp, TestAppBuilder, eventually, ready_room, time_passes, time_passes_until,
};

const MODES: [InLookup; 3] = [InLookup::Supported, InLookup::Refused, InLookup::Ignored];

/// A service whose prefetch looks several rooms up, and a node with rooms of others.
async fn service(mode: InLookup, settings: impl Fn(TestAppBuilder) -> TestAppBuilder) -> TestApp {
    let app = settings(TestApp::with().set("POOL_TARGET_SIZE", 6).set("POOL_PREFETCH", 3)).start().await;
    app.pexip.set_in_lookup(mode);
    for number in 0..5 {
        app.pexip.insert(StoredRoom::named(format!("boardroom-{number}")));
        let citizens = StoredRoom::named(name(number)).tagged(TAG).with_pins("123456", "654321");
        app.pexip.insert(citizens.described("handed-out=2999-01-01T00:00:00Z"));
    }
    app
}

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqqqqqq{number}")
}

fn several() -> Matching {
    Matching::method(Method::GET).query_contains("name__in")
}

fn single() -> Matching {
    Matching::method(Method::GET).query_contains("name=")
}

/// Names of the rooms without a tag, and of the messages.
fn pool(app: &TestApp) -> (BTreeSet<String>, BTreeSet<String>) {
    let rooms = app.pexip.rooms().into_iter().filter(|room| room.name.starts_with("vbv-") && room.tag.is_empty());
    let messages = app.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text);
    (rooms.map(|room| room.name).collect(), messages.collect())
}

#[tokio::test]
async fn the_pool_is_served_and_no_message_is_lost_however_the_node_treats_several_names() {
    for mode in MODES {
        let app = service(mode, |with| with).await;
        app.fill_pool().await;

        let mut given = BTreeSet::new();
        for _ in 0..8 {
            let answer = app.create_room().await;
            assert_eq!((answer.status.as_u16(), answer.header("room-source")), (200, "pool"), "{mode:?}: {answer:?}");
            given.insert(answer.room());
        }

        assert_eq!(given.len(), 8, "{mode:?}: each create has a room of its own");
        eventually("the pool is full again", async || pool(&app).1.len() == 6).await;
        let (rooms, messages) = pool(&app);
        assert_eq!(rooms, messages, "{mode:?}: every room has its message");
    }
}

#[tokio::test]
async fn a_node_that_cannot_look_up_several_names_is_asked_again_after_ten_minutes() {
    for mode in [InLookup::Refused, InLookup::Ignored] {
        let app = service(mode, |with| with).await;
        app.warm_up().await;
        let taken = async || assert_eq!(app.create_room().await.header("room-source"), "pool");
        for _ in 0..4 {
            taken().await;
        }
        assert_eq!(app.pexip.traffic().count(&several()), 1, "{mode:?}");
        assert!(app.pexip.traffic().count(&single()) > 1, "{mode:?}");

        app.pexip.set_in_lookup(InLookup::Supported);
        time_passes(Duration::from_secs(601)).await;
        app.queue.advance(Duration::from_secs(601));
        app.pexip.traffic().clear();
        eventually("the prefetch is filled", async || app.pexip.traffic().count(&several()) > 0).await;
        taken().await;
        assert_eq!(app.pexip.traffic().count(&single()), 0, "{mode:?}");
    }
}

#[tokio::test]
async fn an_answer_about_other_rooms_deletes_no_message() {
    // The last one hides rooms: the count says that more match than are listed.
    let room = |name: String| json!({ "id": 7, "name": name, "service_type": "conference", "allow_guests": true, "tag": "", "description": "" });
    let page = |total_count: usize, objects: serde_json::Value| {
        let meta = json!({ "limit": 2, "next": null, "offset": 0, "previous": null, "total_count": total_count });
        json!({ "meta": meta, "objects": objects }).to_string()
    };
    let others = [
        page(1, json!([room("boardroom-1".to_owned())])),
        page(1, json!([room(name(1))])),
        page(900, json!([room(name(1)), room(name(2))])),
        page(1, json!([])),
    ];
    for body in others {
        let app = service(InLookup::Supported, |with| with.set("POOL_EMPTY", "refuse")).await;
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let answer = Fault::StatusWith { status: 200, headers, body: body.clone() };
        app.pexip.traffic().inject(several(), Times::Always, answer.clone());
        app.pexip.traffic().inject(single(), Times::Always, answer);
        app.fill_pool().await;
        let before = pool(&app);

        for _ in 0..3 {
            app.create_room().await.assert_problem(502, "pexip_invalid");
        }

        assert_eq!(pool(&app), before, "{body}");
        app.pexip.traffic().heal();
        eventually("the pool is served", async || {
            time_passes(Duration::from_secs(1)).await;
            app.create_room().await.status == 200
        })
        .await;
        assert!(app.queue.messages(&format!("{POOL_QUEUE}-poison")).is_empty());
    }
}

#[tokio::test]
async fn rubbish_instead_of_several_rooms_leads_to_look_ups_of_each() {
    let app = service(InLookup::Supported, |with| with).await;
    app.pexip.traffic().inject(several(), Times::Always, Fault::Rubbish);
    app.fill_pool().await;

    for _ in 0..4 {
        assert_eq!(app.create_room().await.header("room-source"), "pool");
    }
}

#[tokio::test]
async fn look_ups_of_each_room_stay_within_the_budget_and_lose_no_message() {
    let app = service(InLookup::Refused, |with| {
        with.set("POOL_PREFETCH", 20).set("PEXIP_REQUESTS_PER_MINUTE", 15).set("POOL_EMPTY", "refuse")
    })
    .await;
    for number in 0..20 {
        let name = format!("vbv-01jd5p3xk8zzzzzzzzzzzzzz{number:02}");
        app.pool_holds(ready_room(name));
    }
    let before = pool(&app);
    let started = Instant::now();

    for _ in 0..4 {
        app.create_room().await.assert_problem(503, "pexip_unavailable");
    }

    let calls = app.pexip.traffic().count(&Matching::any());
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).expect("a small number") + 1;
    assert!((2..=15 * minutes).contains(&calls), "{calls} calls in {minutes} minutes");
    assert_eq!(pool(&app), before);
}

#[tokio::test]
async fn ended_rooms_are_found_however_the_node_treats_several_names() {
    for mode in MODES {
        let app = service(mode, |with| {
            with.set("PEXIP_EVENT_USERNAME", "nodes").set("PEXIP_EVENT_PASSWORD", "password-of-the-nodes")
        })
        .await;
        app.pexip.join(&name(2), Role::Guest);
        app.queue.put(&format!("{POOL_QUEUE}-ended"), &name(1));
        app.queue.put(&format!("{POOL_QUEUE}-ended"), &name(2));

        time_passes_until("no hint is left", &app, async || {
            app.queue.messages(&format!("{POOL_QUEUE}-ended")).is_empty()
        })
        .await;

        let left: Vec<_> = (0..5).filter(|number| app.pexip.room(&name(*number)).is_some()).collect();
        assert_eq!(left, [0, 2, 3, 4], "{mode:?}: only the empty room of the two is deleted");
    }
}
