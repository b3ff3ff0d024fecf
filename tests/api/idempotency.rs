//! `Idempotency-Key`: the same key of one caller gets at most one room, whatever is repeated, raced, killed or lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, StoredBlob, StoredRoom, Times};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::genesys_load::others_have_their_turn;
use crate::support::{
    Answer, Call, POOL_QUEUE, Program, TAG, TestApp, UUI_DATA, citizen, eventually, ready_room, stop_time, time_passes,
    within,
};

const RECORDS: &str = "room-records";
const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn request(app: &TestApp, key: &str, uui_data: &str) -> RequestBuilder {
    request_at(app, &app.url, key, uui_data)
}

fn request_at(app: &TestApp, instance: &Url, key: &str, uui_data: &str) -> RequestBuilder {
    let url = instance.join(&format!("room/create?uuiData={uui_data}")).expect("a path");
    app.http.post(url).bearer_auth(app.entra.token().build()).header("Idempotency-Key", key)
}

async fn create(app: &TestApp, key: &str) -> Answer {
    app.send(request(app, key, UUI_DATA)).await
}

/// The room, and whether the answer is a replay.
fn room_of(answer: &Answer) -> (String, bool) {
    let replayed = answer.header("idempotency-replayed");
    assert!(replayed.is_empty() || replayed == "true", "{answer:?}");
    (answer.room(), !replayed.is_empty())
}

/// The only record of a key.
fn record(app: &TestApp) -> (String, Value) {
    let records = records(app);
    let [StoredBlob { name, text }] = records.as_slice() else { panic!("{records:?}") };
    (name.clone(), serde_json::from_str(text).expect("JSON"))
}

fn records(app: &TestApp) -> Vec<StoredBlob> {
    app.blobs.blobs(RECORDS).into_iter().filter(|blob| blob.name.starts_with("requests/")).collect()
}

/// Replaces members of the only record, as another instance would.
fn change_record(app: &TestApp, members: &Value) {
    let (name, mut record) = record(app);
    for (member, value) in members.as_object().expect("members") {
        record[member] = value.clone();
    }
    app.blobs.put(RECORDS, &name, &record.to_string());
}

fn seconds_from_now(seconds: i64) -> String {
    (OffsetDateTime::now_utc() + time::Duration::seconds(seconds)).format(&Rfc3339).expect("a time")
}

#[tokio::test]
async fn the_same_key_is_the_same_room() {
    let app = TestApp::start().await;
    app.warm_up().await;
    let first = create(&app, KEY).await;

    for key in [KEY.to_owned(), format!("\"{KEY}\"")] {
        let again = create(&app, &key).await;

        assert_eq!((room_of(&first).1, room_of(&again)), (false, (first.room(), true)));
        assert_eq!(again.header("room-source"), "pool");
        assert_eq!(again.json(), first.json());
    }
    assert_eq!(app.pexip.rooms().iter().filter(|room| !room.tag.is_empty()).count(), 1);
}

#[tokio::test]
async fn without_a_key_or_with_another_one_each_create_is_another_room() {
    let app = TestApp::start().await;
    let rooms = [
        create(&app, KEY).await.room(),
        create(&app, "another-key").await.room(),
        app.create_room().await.room(),
        app.create_room().await.room(),
    ];

    assert_eq!(BTreeSet::from(rooms.clone()).len(), 4, "{rooms:?}");
}

#[tokio::test]
async fn a_key_is_valid_for_its_client_only() {
    let app = TestApp::with().set("ENTRA_ALLOWED_CLIENT_IDS", "*").start().await;
    let first = create(&app, KEY).await.room();
    let path = format!("room/create?uuiData={UUI_DATA}");
    let token = app.entra.token().claim("azp", "11112222-3333-4444-8555-666677778888").build();
    let other = app.request(Method::POST, &path).bearer_auth(token).header("Idempotency-Key", KEY);

    let (other, replayed) = room_of(&app.send(other).await);

    assert!(other != first && !replayed);
}

#[tokio::test]
async fn a_malformed_or_repeated_key_is_refused_before_anything_is_touched() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    for key in ["", "\"\"", "a b", "a,b", &"k".repeat(65), "\"k", "k;a=1", "\u{e4}"] {
        create(&app, key).await.assert_problem(400, "idempotency_key_invalid");
    }
    app.send(request(&app, KEY, UUI_DATA).header("Idempotency-Key", KEY))
        .await
        .assert_problem(400, "idempotency_key_invalid");
    app.send(request(&app, "a b", "zz")).await.assert_problem(400, "uui_data_invalid");
    app.assert_no_outside_calls("a refused key");
}

#[tokio::test]
async fn the_same_key_with_another_case_is_refused() {
    let app = TestApp::start().await;
    let (upper, lower) = ("4A4B4C4D", "4a4b4c4d;encoding=hex");
    let first = app.send(request(&app, KEY, upper)).await;

    assert_eq!(room_of(&app.send(request(&app, KEY, lower)).await), (first.room(), true), "the digits' case is none");
    let refused = app.send(request(&app, KEY, &citizen(1).0)).await;

    refused.assert_problem(422, "idempotency_key_reused");
    assert!(!app.pexip.rooms().iter().any(|room| room.tag == citizen(1).1), "{:?}", app.pexip.rooms());
}

#[tokio::test]
async fn while_the_first_request_runs_the_second_is_asked_to_wait() {
    let app = TestApp::start().await;
    app.warm_up().await;
    let another = app.another_instance();
    app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Once, Fault::Stall);
    let first = async { create(&app, KEY).await };
    let others = async {
        eventually("the first request tags its room", async || {
            app.pexip.traffic().count(&Call::PexipTag.matching()) == 1
        })
        .await;
        for instance in [&app.url, &another.url] {
            let answer = app.send(request_at(&app, instance, KEY, UUI_DATA)).await;
            answer.assert_problem(409, "request_in_progress");
            let wait: u64 = answer.header("retry-after").parse().expect("seconds");
            assert!((1..=10).contains(&wait), "{wait}");
            let refused = app.send(request_at(&app, instance, KEY, &citizen(1).0)).await;
            refused.assert_problem(422, "idempotency_key_reused");
        }
        app.pexip.traffic().heal();
    };

    let (first, ()) = tokio::join!(first, others);

    for instance in [&app.url, &another.url] {
        let again = app.send(request_at(&app, instance, KEY, UUI_DATA)).await;
        assert_eq!(room_of(&again), (first.room(), true));
    }
}

#[tokio::test]
async fn of_many_requests_at_once_on_two_instances_all_get_the_same_room() {
    let app = TestApp::start().await;
    app.fill_pool().await;
    let another = app.another_instance();
    for round in 0..5 {
        let key = format!("race-{round}");
        let instances = [&app.url, &another.url];
        let requests = (0..12).map(|number| app.send(request_at(&app, instances[number % 2], &key, UUI_DATA)));

        let answers = join_all(requests).await;

        let mut rooms = BTreeSet::new();
        for answer in &answers {
            if answer.status == 200 {
                rooms.insert(answer.room());
            } else {
                answer.assert_problem(409, "request_in_progress");
            }
        }
        let made: Vec<_> = answers.iter().filter(|answer| answer.status == 200 && !room_of(answer).1).collect();
        assert_eq!((rooms.len(), made.len()), (1, 1), "{answers:?}");
        assert_eq!(create(&app, &key).await.room(), *rooms.first().expect("a room"));
    }
}

#[tokio::test]
async fn after_its_room_has_ended_the_key_is_of_no_more_use() {
    let app = TestApp::start().await;
    let room = create(&app, KEY).await.room();
    assert_eq!(app.delete_room(&room).await.status, 204);

    for _ in 0..2 {
        create(&app, KEY).await.assert_problem(410, "room_ended");
    }
}

/// A node restored from a backup has the room as it was in the pool, or another citizen's tag on it.
#[tokio::test]
async fn a_room_without_this_cases_tag_is_never_replayed() {
    let app = TestApp::start().await;
    let room = create(&app, KEY).await.room();
    for tag in ["", "https://id.gov.bc.ca/idcheck/another"] {
        app.pexip.remove(&room);
        app.pexip.insert(StoredRoom::named(&room).tagged(tag).with_pins("123456", "654321"));

        create(&app, KEY).await.assert_problem(410, "room_ended");
    }
}

#[tokio::test]
async fn a_replay_while_pexip_fails_is_pexips_problem_and_keeps_the_key() {
    let app = TestApp::without_pool().await;
    let room = create(&app, KEY).await.room();
    for (fault, status, code) in [
        (Fault::Status(503), 503, "pexip_unavailable"),
        (Fault::Status(403), 502, "pexip_refused"),
        (Fault::Rubbish, 502, "pexip_invalid"),
    ] {
        app.pexip.traffic().inject(Call::PexipLookUp.matching(), Times::Once, fault);
        create(&app, KEY).await.assert_problem(status, code);
    }

    eventually("Pexip is asked again", async || create(&app, KEY).await.status == 200).await;
    assert_eq!(room_of(&create(&app, KEY).await), (room, true));
}

#[tokio::test]
async fn a_failed_create_frees_its_key() {
    let app = TestApp::with().set("POOL_EMPTY", "refuse").start().await;

    create(&app, KEY).await.assert_problem(503, "no_room");
    assert!(records(&app).is_empty(), "{:?}", records(&app));
    app.pool_holds(ready_room("vbv-01jd5p3xk8zzzzzzzzzzzzzzzz"));

    eventually("the room is handed out", async || {
        let answer = create(&app, KEY).await;
        answer.status == 200 && room_of(&answer).0 == "vbv-01jd5p3xk8zzzzzzzzzzzzzzzz"
    })
    .await;
}

/// Whether its room exists is unknown: a repetition must not start before that one is over.
#[tokio::test]
async fn a_create_whose_room_may_exist_keeps_its_key_until_it_has_certainly_ended() {
    let app = TestApp::without_pool().await;
    app.pexip.traffic().inject(Call::PexipCreate.matching(), Times::Once, Fault::StatusAfter(500));
    app.pexip.traffic().inject(Call::look_ups_by_name(), Times::Once, Fault::Status(500));

    let before = OffsetDateTime::now_utc();
    create(&app, KEY).await.assert_problem(503, "no_room");
    let after = OffsetDateTime::now_utc();

    let (_, record) = record(&app);
    assert_eq!(record["state"], "running");
    let until = OffsetDateTime::parse(record["until"].as_str().expect("a text"), &Rfc3339).expect("a time");
    let deadline = time::Duration::seconds(25);
    let latest = after + deadline + time::Duration::seconds(10);
    assert!(before + deadline < until && until <= latest, "{before} to {after}: {until}");
    create(&app, KEY).await.assert_problem(409, "request_in_progress");
}

#[tokio::test]
async fn a_run_that_never_ended_is_taken_over_when_both_clocks_say_so() {
    let ahead = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ahead);
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .clock(move || SystemTime::now() + Duration::from_secs(clock.load(Ordering::Relaxed)))
        .start()
        .await;
    let first = create(&app, KEY).await.room();
    let running = json!({ "state": "running", "run_id": "of a dead instance", "until": seconds_from_now(35) });
    change_record(&app, &running);

    create(&app, KEY).await.assert_problem(409, "request_in_progress");
    ahead.store(40, Ordering::Relaxed);
    create(&app, KEY).await.assert_problem(409, "request_in_progress");
    app.send(request(&app, KEY, &citizen(1).0)).await.assert_problem(422, "idempotency_key_reused");
    app.blobs.traffic().set_clock_offset(40);
    let (second, replayed) = room_of(&create(&app, KEY).await);

    assert!(!replayed && second != first);
    assert_eq!(room_of(&create(&app, KEY).await), (second, true));
}

#[tokio::test]
async fn a_key_past_its_window_is_a_new_one_even_for_another_case() {
    let app = TestApp::without_pool().await;
    let first = create(&app, KEY).await.room();
    change_record(&app, &json!({ "window_ends": seconds_from_now(-60) }));

    let answer = app.send(request(&app, KEY, &citizen(1).0)).await;

    let (second, replayed) = room_of(&answer);
    assert!(!replayed && second != first);
    create(&app, KEY).await.assert_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn an_overtaken_run_destroys_its_room_and_answers_no_success() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Once, Fault::Stall);
    let first = async { create(&app, KEY).await };
    let overtakes = async {
        eventually("the first request tags its room", async || {
            app.pexip.traffic().count(&Call::PexipTag.matching()) == 1
        })
        .await;
        change_record(&app, &json!({ "run_id": "another run" }));
        app.pexip.traffic().heal();
    };

    let (answer, ()) = tokio::join!(first, overtakes);

    answer.assert_problem(409, "request_in_progress");
    eventually("the room is destroyed", async || app.pexip.rooms().iter().all(|room| room.tag != TAG)).await;
}

#[tokio::test]
async fn a_caller_with_a_key_who_hangs_up_finds_the_room_again() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Once, Fault::Stall);
    let caller = tokio::spawn(request(&app, KEY, UUI_DATA).send());
    eventually("the room is being tagged", async || app.pexip.traffic().count(&Call::PexipTag.matching()) == 1).await;

    caller.abort();
    assert!(caller.await.is_err());
    app.pexip.traffic().heal();
    eventually("the key finds the room", async || record(&app).1["state"] == "done").await;
    let (room, replayed) = room_of(&create(&app, KEY).await);

    assert!(replayed);
    assert_eq!(app.pexip.room(&room).expect("the room").tag, TAG);
}

#[tokio::test]
async fn a_replay_needs_no_capacity_and_a_refused_request_leaves_its_key_free() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("POOL_MAX_ROOMS", 1).start().await;
    let first = create(&app, KEY).await;
    create(&app, "second").await.room();

    create(&app, "third").await.assert_problem(503, "no_room");

    assert_eq!(room_of(&create(&app, KEY).await), (first.room(), true));
    assert_eq!(records(&app).len(), 2);
}

#[tokio::test]
async fn a_key_whose_record_is_not_made_in_time_gets_no_room() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("REQUEST_DEADLINE_SECONDS", 12).start().await;
    app.blobs.traffic().inject(Matching::any().path_contains("/requests%2F"), Times::Always, Fault::Stall);
    let _time = stop_time();
    let meanwhile = async {
        eventually("the record is being made", async || app.blobs.traffic().count(&Call::KeyWrite.matching()) == 1)
            .await;
        // Half a second before the request's deadline.
        time_passes(Duration::from_millis(11_600)).await;
    };

    let (answer, ()) = tokio::join!(create(&app, KEY), meanwhile);

    answer.assert_problem(503, "records_unavailable");
    assert!(app.pexip.rooms().is_empty());
}

#[tokio::test]
async fn lost_answers_of_the_records_writes_change_nothing() {
    for lost in [1, 2] {
        let app = TestApp::without_pool().await;
        // The first write makes the record, the second one notes the room.
        if lost == 2 {
            app.blobs.traffic().inject(Call::KeyWrite.matching(), Times::Once, Fault::Slow(Duration::ZERO));
        }
        app.blobs.traffic().inject(Call::KeyWrite.matching(), Times::Once, Fault::HangUpAfter);

        let (room, replayed) = room_of(&create(&app, KEY).await);

        assert!(!replayed);
        assert_eq!(room_of(&create(&app, KEY).await), (room, true), "write {lost}");
    }
    let app = TestApp::with().set("POOL_EMPTY", "refuse").start().await;
    app.blobs.traffic().inject(Matching::method(Method::DELETE), Times::Once, Fault::HangUpAfter);
    create(&app, KEY).await.assert_problem(503, "no_room");
    assert!(records(&app).is_empty());
}

#[tokio::test]
async fn without_records_no_promise_is_given_and_nothing_is_taken() {
    for fault in [Fault::HangUpBefore, Fault::Status(503), Fault::Status(403), Fault::Rubbish] {
        let app = TestApp::start().await;
        app.warm_up().await;
        let before = app.queue.messages(POOL_QUEUE).len();
        app.blobs.traffic().inject(Matching::any().path_contains("/requests%2F"), Times::Always, fault.clone());

        create(&app, KEY).await.assert_problem(503, "records_unavailable");

        assert_eq!(app.queue.messages(POOL_QUEUE).len(), before, "{fault:?}");
        assert!(app.pexip.rooms().iter().all(|room| room.tag.is_empty()), "{fault:?}");
    }
}

#[tokio::test]
async fn a_room_that_may_not_be_noted_is_neither_answered_nor_destroyed() {
    let app = TestApp::without_pool().await;
    app.blobs.traffic().inject(Call::KeyWrite.matching(), Times::Once, Fault::Slow(Duration::ZERO));
    // The room is noted, but neither this answer nor a read tells.
    app.blobs.traffic().inject(Call::KeyWrite.matching(), Times::Once, Fault::HangUpAfter);
    app.blobs.traffic().inject(Call::KeyRead.matching(), Times::Once, Fault::HangUpBefore);

    create(&app, KEY).await.assert_problem(503, "records_unavailable");

    let mut answer = create(&app, KEY).await;
    let again = async {
        while answer.status != 200 {
            answer.assert_problem(503, "records_unavailable");
            // Slower than the caller's rate.
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer = create(&app, KEY).await;
        }
        answer
    };
    let answer = within("the records are used again", again).await;
    assert!(room_of(&answer).1, "the repetition is answered with the room");
    assert_eq!(app.pexip.room(&answer.room()).expect("the room").tag, TAG);
}

#[tokio::test]
async fn a_replay_of_a_direct_room_tells_what_is_left_of_the_wait() {
    let ahead = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ahead);
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("POOL_READY_DELAY_SECONDS", 90)
        .clock(move || SystemTime::now() + Duration::from_secs(clock.load(Ordering::Relaxed)))
        .start()
        .await;
    assert_eq!(create(&app, KEY).await.header("retry-after"), "90");

    ahead.store(60, Ordering::Relaxed);
    let left: u64 = create(&app, KEY).await.header("retry-after").parse().expect("seconds");
    assert!((1..=30).contains(&left), "{left}");
    ahead.store(100, Ordering::Relaxed);
    let answer = create(&app, KEY).await;
    assert_eq!((answer.header("room-source"), answer.header("retry-after")), ("direct", ""));
}

#[tokio::test]
async fn records_hold_nothing_that_a_caller_or_a_citizen_would_know_again() {
    let app = TestApp::start().await;
    let answer = create(&app, KEY).await;
    let room = answer.json();

    let all = format!("{:?}", app.blobs.blobs(RECORDS));

    for secret in [KEY, UUI_DATA, "123456,765432", TAG, app.entra.tenant_id()] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    for pin in ["pin", "guest_pin"] {
        assert!(!all.contains(&format!("\"{}\"", room[pin].as_str().expect("a PIN"))), "{all}");
    }
}

/// The first instance is killed between tag and answer. Its record runs out, and another instance takes the key over.
#[tokio::test]
async fn a_killed_first_attempt_is_taken_over_and_its_room_is_never_answered() {
    let (app, program) = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        // The look-up must still wait when the process is killed.
        .set("REQUEST_DEADLINE_SECONDS", 20)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 15)
        .start_program()
        .await;
    app.pexip.traffic().inject(Call::look_ups_by_name(), Times::Once, Fault::Stall);
    let first = tokio::spawn(request(&app, KEY, UUI_DATA).send());
    eventually("the first request has made its room", async || {
        app.pexip.traffic().count(&Call::look_ups_by_name()) >= 1
    })
    .await;
    program.signal("KILL");
    program.ended().await;
    assert!(first.await.expect("no panic").is_err(), "no answer");
    app.pexip.traffic().heal();
    let left = app.pexip.rooms().into_iter().next().expect("the room of the first request").name;

    let second = Program::start(&["serve"], app.settings_of_a_program());
    let url = second.url().await;
    let answer = async {
        loop {
            let answer = Answer::read(request_at(&app, &url, KEY, UUI_DATA).send().await.expect("an answer")).await;
            if answer.status == 200 {
                return answer;
            }
            answer.assert_problem(409, "request_in_progress");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (room, replayed) = room_of(&within("the key is taken over", answer).await);

    assert!(!replayed && room != left, "{room}, before {left}");
}

#[tokio::test]
async fn repetitions_of_one_key_leave_calls_to_other_clients() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 2).set("PEXIP_REQUESTS_PER_MINUTE", 60).start().await;
    app.warm_up().await;
    let first = create(&app, KEY).await.room();
    let mut replays = 0;
    for _ in 0..60 {
        let again = create(&app, KEY).await;
        if again.status == 200 {
            assert_eq!(room_of(&again), (first.clone(), true));
            replays += 1;
        } else {
            again.assert_problem(503, "pexip_unavailable");
        }
    }
    assert!(replays > 0);

    let other = app.entra.token().claim("azp", "00000000-0000-0000-0000-00000000aaaa").build();
    let created = app.create_with(&other).await;
    assert_eq!(created.status, 200, "{created:?}");
}

#[tokio::test]
async fn repetitions_in_flight_share_one_call_and_a_deleted_room_is_gone() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let room = create(&app, KEY).await.room();
    let reads = Matching::method(Method::GET).query_contains(room.as_str());
    app.pexip.traffic().clear();
    let _time = stop_time();
    app.pexip.traffic().inject(reads.clone(), Times::Once, Fault::Stall);

    let watch = async {
        eventually("a read is in flight", async || app.pexip.traffic().count(&reads) > 0).await;
        others_have_their_turn(&app).await;
        let shared = app.pexip.traffic().count(&reads);
        assert_eq!(app.delete_room(&room).await.status, 204);
        create(&app, KEY).await.assert_problem(410, "room_ended");
        app.pexip.traffic().heal();
        shared
    };
    let (replays, shared) = tokio::join!(join_all((0..6).map(|_| create(&app, KEY))), watch);

    assert_eq!(shared, 1);
    assert!(replays.iter().all(|replay| replay.status == 410), "{replays:?}");
}
