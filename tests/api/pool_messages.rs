//! Unusual messages in the queue: dead, duplicate, in base64, poison.

use std::time::{Duration, Instant};

use maxconf_simulators::pexip::InLookup;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;

use crate::support::{POOL_QUEUE, TestApp, eventually, ready_room};

#[tokio::test]
async fn a_tagged_room_is_never_handed_out_and_its_message_is_deleted() {
    let app = TestApp::start().await;
    let name = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
    app.pool_holds(
        StoredRoom::named(name).tagged("https://id.gov.bc.ca/idcheck/another").with_pins("123456", "654321"),
    );

    let answer = app.create_room().await;

    assert_ne!(answer.room(), name);
    assert_eq!(app.pexip.room(name).expect("the room").tag, "https://id.gov.bc.ca/idcheck/another");
    eventually("the message is deleted", async || {
        app.queue.messages(POOL_QUEUE).iter().all(|message| message.text != name)
    })
    .await;
}

#[tokio::test]
async fn messages_of_rooms_that_are_missed_one_by_one_are_deleted_at_a_limited_rate() {
    let started = Instant::now();
    let app = TestApp::with().set("POOL_TARGET_SIZE", 20).start().await;
    app.pexip.set_in_lookup(InLookup::Refused);
    for number in 0..15 {
        app.queue.put(POOL_QUEUE, &format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}"));
    }
    let room = ready_room("vbv-01jd5p3xk8zzzzzzzzzzzzzzzz");
    app.pool_holds(room);

    assert_eq!(app.create_room().await.status, 200);
    eventually("the dead messages were received", async || {
        let messages = app.queue.messages(POOL_QUEUE);
        messages.iter().all(|message| message.dequeue_count > 0)
    })
    .await;

    // A node that answers wrongly must not drain the pool: ten are deleted, and one more every six seconds.
    let left = app.queue.messages(POOL_QUEUE).iter().filter(|message| message.text.contains("qqqqqqqq")).count();
    let regained = usize::try_from(started.elapsed().as_secs() / 6).expect("a small number");
    let least = 5_usize.saturating_sub(regained);
    assert!((least..15).contains(&left), "{left} of 15 are left, {regained} deletions regained");
}

/// Puts messages into the queue whose rooms do not exist.
fn dead_messages(app: &TestApp, number: usize) {
    for number in 0..number {
        app.queue.put(POOL_QUEUE, &format!("vbv-01jd5p3xk8qqqqqqqqqqqqq{number:03}"));
    }
}

#[tokio::test]
async fn a_queue_full_of_dead_messages_costs_creates_nothing_and_is_cleared() {
    let app = TestApp::with().set("PEXIP_REQUESTS_PER_MINUTE", 90).start().await;
    dead_messages(&app, 400);

    for _ in 0..15 {
        assert_eq!(app.create_room().await.header("room-source"), "direct");
    }

    // More than the limited rate clears in the time.
    eventually("300 are cleared", async || app.queue.messages(POOL_QUEUE).len() <= 100).await;
}

#[tokio::test]
async fn wrong_empty_answers_cost_no_message_on_any_number_of_instances() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 20).set("POOL_PREFETCH", 8).start().await;
    let empty = r#"{"meta":{"limit":1,"next":null,"offset":0,"previous":null,"total_count":0},"objects":[]}"#;
    let wrong = Fault::StatusWith { status: 200, headers: Vec::new(), body: empty.into() };
    app.pexip.traffic().inject(Matching::method(Method::GET), Times::Always, wrong);
    let _others = [app.another_instance(), app.another_instance()];
    for number in 0..20 {
        app.pool_holds(ready_room(format!("vbv-01jd5p3xk8zzzzzzzzzzzzzz{number:02}")));
    }

    eventually("all messages were received", async || {
        let messages = app.queue.messages(POOL_QUEUE);
        assert_eq!(messages.len(), 20);
        messages.iter().all(|message| message.dequeue_count > 0)
    })
    .await;
    app.pexip.traffic().heal();
    eventually("the pool is in use again", async || {
        app.queue.advance(Duration::from_secs(61));
        app.create_room().await.header("room-source") == "pool"
    })
    .await;
}

#[tokio::test]
async fn without_budget_for_look_ups_rooms_are_made_directly() {
    let app = TestApp::with().set("PEXIP_REQUESTS_PER_MINUTE", 24).start().await;
    // Two thirds, with the count at the start. Look-ups behind dead messages may use four calls more.
    for _ in 0..15 {
        app.public_room("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq").await.assert_problem(404, "room_not_found");
    }
    dead_messages(&app, 40);

    assert_eq!(app.create_room().await.header("room-source"), "direct");
}

#[tokio::test]
async fn a_poison_message_is_set_aside_after_five_receives() {
    let app = TestApp::with().set("POOL_LEASE_SECONDS", 3).start().await;
    let junk = ["junk", "", "{\"room\":1}", "boardroom", "edge-01jd5p3xk8qqqqqqqqqqqqqqqq"];
    for text in junk {
        app.queue.put(POOL_QUEUE, text);
    }
    app.pool_holds(ready_room("vbv-01jd5p3xk8zzzzzzzzzzzzzzzz"));

    assert_eq!(app.create_room().await.room(), "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz");
    assert_eq!(app.create_room().await.header("room-source"), "direct");
    let left = || app.queue.messages(POOL_QUEUE).into_iter().filter(|message| junk.contains(&message.text.as_str()));
    assert_eq!(left().count(), 5);

    let poison = format!("{POOL_QUEUE}-poison");
    eventually("all poison messages are set aside", async || {
        app.queue.advance(Duration::from_secs(3));
        app.create_room().await;
        app.queue.messages(&poison).len() == 5
    })
    .await;
    let mut aside: Vec<_> = app.queue.messages(&poison).into_iter().map(|message| message.text).collect();
    aside.sort();
    let mut expected = junk;
    expected.sort_unstable();
    assert_eq!(aside, expected);
    assert!(left().next().is_none());
}

#[tokio::test]
async fn a_poison_message_that_cannot_be_set_aside_delays_no_request() {
    // The deadline is shorter than a call to the queue may take.
    let short_deadline = TestApp::with().set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).set("REQUEST_DEADLINE_SECONDS", 4);
    let app = short_deadline.set("POOL_LEASE_SECONDS", 3).start().await;
    let aside = Matching::any().path_contains("-poison");
    app.queue.traffic().inject(aside.clone(), Times::Always, Fault::Stall);
    app.queue.put(POOL_QUEUE, "junk");
    eventually("the poison message is being set aside", async || {
        app.queue.advance(Duration::from_secs(3));
        assert_eq!(app.create_room().await.status, 200);
        app.queue.traffic().count(&aside) > 0
    })
    .await;

    for number in 0..3 {
        app.pool_holds(ready_room(format!("vbv-01jd5p3xk8zzzzzzzzzzzzzzz{number}")));
        assert_eq!(app.create_room().await.header("room-source"), "pool");
    }
}

#[tokio::test]
async fn a_room_name_in_base64_is_accepted() {
    use base64::Engine;

    let app = TestApp::start().await;
    let name = "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz";
    app.pexip.insert(ready_room(name));
    app.queue.put(POOL_QUEUE, &base64::engine::general_purpose::STANDARD.encode(name));

    assert_eq!(app.create_room().await.room(), name);
}

#[tokio::test]
async fn two_messages_with_one_name_give_the_room_once() {
    let app = TestApp::with().set("POOL_PREFETCH", 2).start().await;
    let name = "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz";
    app.pool_holds(ready_room(name));
    app.queue.put(POOL_QUEUE, name);

    assert_ne!(app.create_room().await.room(), app.create_room().await.room());
}
