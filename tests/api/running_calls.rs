//! Running calls: what ends them, and what never does.

use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use ulid::Ulid;

use crate::support::{
    Ahead, Another, Program, TAG, TestApp, eventually, time_between_readings_passes, time_passes_until, within,
};

const HOUR: i64 = 3600;

/// `POOL_ROOM_MAX_AGE_SECONDS`, `ROOM_ABSOLUTE_LIFETIME_SECONDS` and the margin.
const LONGEST_LIFE: i64 = 24 * HOUR + 12 * HOUR + HOUR;

const QUEUE_OF_AGENTS: &str = "sip:queue@sbc.example.org";

const ENDED_QUEUE: &str = "room-creation-queue-ended";

/// A name minted this many seconds ago.
fn minted(seconds_ago: i64, number: u64) -> String {
    let time = OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    let milliseconds = u64::try_from(time.unix_timestamp() * 1000).expect("after 1970");
    format!("vbv-{}", Ulid::from_parts(milliseconds, u128::from(number)).to_string().to_lowercase())
}

/// A room that was handed out just now and dials the queue.
fn room(name: &str) -> StoredRoom {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    let room = StoredRoom::named(name).tagged(TAG).described(format!("handed-out={now}"));
    StoredRoom { automatic_participants: vec![7], ..room }
}

async fn start(ahead: &Ahead) -> TestApp {
    let app = ahead.builder().start().await;
    app.pexip.add_automatic_participant(7, QUEUE_OF_AGENTS);
    app
}

/// Calls with a citizen and a leg, with an agent, with somebody at the PIN, and with a citizen dialled by the agent.
fn calls(app: &TestApp, names: &[String]) {
    for name in names {
        app.pexip.insert(room(name));
    }
    app.pexip.join(&names[0], Role::Guest);
    app.pexip.dial_out_leg(&names[0]);
    app.pexip.join(&names[1], Role::Chair);
    app.pexip.wait_for_pin(&names[2]);
    app.pexip.dial_out_leg_as(&names[3], Role::Chair);
}

/// Runs of one instance, each far enough from the next to count as another reading.
async fn runs(app: &TestApp, number: usize) {
    for _ in 0..number {
        app.fill_pool().await;
        time_between_readings_passes().await;
    }
}

async fn runs_of(another: &Another, app: &TestApp, number: usize) {
    for _ in 0..number {
        let url = another.url.join("function_pool_maintenance").expect("a path");
        let answer = within("a run", app.http.post(url).send()).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        time_between_readings_passes().await;
    }
}

fn disconnects(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::POST).path_contains("disconnect"))
}

fn messages(app: &TestApp) -> Vec<String> {
    app.queue.messages(ENDED_QUEUE).into_iter().map(|message| message.text).collect()
}

/// As a killed process leaves it.
fn left_behind(app: &TestApp, text: &str) {
    app.queue.put(ENDED_QUEUE, text);
}

#[tokio::test]
async fn a_restored_node_that_lost_rooms_keeps_their_calls_whatever_instance_looks() {
    for left in [0, 1, 3, 6] {
        let app = start(&Ahead::default()).await;
        let names: Vec<_> = (0..6).map(|number| minted(60, number)).collect();
        calls(&app, &names);
        runs(&app, 1).await;

        app.pexip.restore_backup((10..10 + left).map(|number| room(&minted(HOUR, number))).collect(), 100);
        runs(&app, 3).await;
        // After a restart nothing is remembered of the time before the restore.
        runs_of(&app.another_instance(), &app, 3).await;

        assert_eq!(disconnects(&app), 0, "{left} rooms left");
        assert!(names[..4].iter().all(|name| app.pexip.is_running(name)), "{left} rooms left");
    }
}

#[tokio::test]
async fn a_list_without_rooms_ends_no_call_however_old_and_often() {
    let app = start(&Ahead::default()).await;
    let mut names: Vec<_> = (0..4).map(|number| minted(LONGEST_LIFE + HOUR, number)).collect();
    names.extend((4..8).map(|number| minted(60, number)));
    calls(&app, &names[..4]);
    calls(&app, &names[4..]);
    runs(&app, 1).await;
    let empty = json!({ "meta": { "limit": 500, "next": null, "offset": 0, "previous": null, "total_count": 0 }, "objects": [] });
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let answer = Fault::StatusWith { status: 200, headers, body: empty.to_string() };
    let lists = Matching::method(Method::GET).path_contains("/configuration/v1/conference/");
    app.pexip.traffic().inject(lists, Times::Always, answer);

    runs(&app, 3).await;
    runs_of(&app.another_instance(), &app, 3).await;

    assert_eq!(disconnects(&app), 0);
    assert!(names.iter().all(|name| app.pexip.is_running(name)));
}

#[tokio::test]
async fn a_call_without_a_room_is_ended_only_if_it_is_older_than_any_room_by_both_clocks() {
    let ahead = Ahead::default();
    let app = start(&ahead).await;
    let [call, with_room] = [1, 2].map(|number| minted(0, number));
    app.pexip.join(&call, Role::Guest);
    app.pexip.join(&with_room, Role::Guest);
    // Rooms of unknown age: they stay whatever the clocks say.
    let others: Vec<_> = (10..15).map(|number| minted(0, number)).collect();
    for name in others.iter().chain([&with_room]) {
        app.pexip.insert(StoredRoom::named(name));
    }

    for (ours, nodes) in [(LONGEST_LIFE + 60, 0), (0, LONGEST_LIFE + 60), (LONGEST_LIFE - 60, LONGEST_LIFE - 60)] {
        ahead.set(&app, ours, nodes);
        runs(&app, 3).await;
        assert!(app.pexip.is_running(&call), "ours {ours}, the node's {nodes}");
    }
    ahead.set(&app, LONGEST_LIFE + 60, LONGEST_LIFE + 60);
    let lost: Vec<_> = others[1..].iter().filter_map(|name| app.pexip.remove(name)).collect();
    runs(&app, 3).await;
    assert!(app.pexip.is_running(&call), "fewer than half the rooms of the last whole list");

    for room in lost {
        app.pexip.insert(room);
    }
    app.fill_pool().await;
    assert!(app.pexip.is_running(&call), "one run is not enough");
    time_between_readings_passes().await;
    app.fill_pool().await;
    assert!(!app.pexip.is_running(&call));
    assert!(app.pexip.is_running(&with_room));
}

#[tokio::test]
async fn the_first_list_of_a_process_ends_no_call() {
    let ahead = Ahead::default();
    let app = start(&ahead).await;
    let call = minted(LONGEST_LIFE + HOUR, 1);
    app.pexip.insert(room(&minted(60, 2)));
    app.pexip.join(&call, Role::Guest);

    runs(&app, 1).await;
    runs_of(&app.another_instance(), &app, 1).await;
    runs(&app, 1).await;

    // Two runs that believe the list are needed, and each process has had at most one.
    assert!(app.pexip.is_running(&call));
    runs(&app, 1).await;
    assert!(!app.pexip.is_running(&call), "the second list that one process believes ends it");
}

#[tokio::test]
async fn an_event_about_a_lost_room_ends_no_call() {
    let app = start(&Ahead::default()).await;
    let names: Vec<_> = (0..4).map(|number| minted(60, number)).collect();
    calls(&app, &names);
    for name in &names {
        app.pexip.remove(name);
        left_behind(&app, name);
    }

    time_passes_until("the hints are processed", &app, async || messages(&app).is_empty()).await;

    assert_eq!(disconnects(&app), 0);
}

#[tokio::test]
async fn idims_delete_that_a_stopped_process_left_is_finished_by_any_instance() {
    for is_removed in [false, true] {
        let app = start(&Ahead::default()).await;
        let name = minted(60, 1);
        app.pexip.insert(room(&name));
        app.pexip.join(&name, Role::Guest);
        if is_removed {
            app.pexip.remove(&name);
        }
        left_behind(&app, &format!("deleted {name}"));

        time_passes_until("the delete is finished", &app, async || !app.pexip.is_running(&name)).await;

        assert!(app.pexip.room(&name).is_none());
        // Until the delete is replicated, the Conferencing Nodes let people in.
        assert_eq!(messages(&app).len(), 1);
        app.pexip.join(&name, Role::Guest);
        time_passes_until("the late citizen is out", &app, async || !app.pexip.is_running(&name)).await;
        time_passes_until("nothing is left to do", &app, async || messages(&app).is_empty()).await;
    }
}

#[tokio::test]
async fn a_sweep_that_a_stopped_process_left_ends_only_what_it_may() {
    let app = start(&Ahead::default()).await;
    let names: Vec<_> = (0..6).map(|number| minted(60, number)).collect();
    let [with_people, legs_only, with_citizen, with_dialled_citizen, with_room, with_room_and_people] =
        names.as_slice()
    else {
        unreachable!("six names")
    };
    app.pexip.join(with_people, Role::Guest);
    for name in [legs_only, with_citizen, with_room] {
        app.pexip.dial_out_leg(name);
    }
    app.pexip.join(with_citizen, Role::Guest);
    app.pexip.dial_out_leg(with_dialled_citizen);
    app.pexip.join(with_room_and_people, Role::Guest);
    for name in [with_room, with_room_and_people] {
        app.pexip.insert(room(name));
    }
    for name in [with_people, with_room_and_people] {
        left_behind(&app, &format!("swept {name}"));
    }
    for name in [legs_only, with_citizen, with_room] {
        left_behind(&app, &format!("swept-empty {name}\tqueue@sbc.example.org"));
    }
    left_behind(&app, &format!("swept-empty {with_dialled_citizen}\tanother@sbc.example.org"));

    time_passes_until("nothing is left to do", &app, async || messages(&app).is_empty()).await;

    let running: Vec<_> = names.iter().filter(|name| app.pexip.is_running(name)).collect();
    assert_eq!(running, [with_citizen, with_dialled_citizen, with_room, with_room_and_people]);
    assert_eq!(app.pexip.rooms().len(), 2, "the marks decide about rooms that are there");
}

#[tokio::test]
async fn messages_of_another_form_end_nothing() {
    let app = start(&Ahead::default()).await;
    let name = minted(60, 1);
    for name in [&name, "boardroom"] {
        app.pexip.insert(room(name));
        app.pexip.join(name, Role::Guest);
    }
    for text in [
        "deleted boardroom",
        "deleted",
        &format!("Deleted {name}"),
        &format!("deleted {name} x"),
        &format!("{name} deleted"),
        "swept boardroom",
    ] {
        left_behind(&app, text);
    }

    time_passes_until("the messages are dropped", &app, async || messages(&app).is_empty()).await;

    assert_eq!((disconnects(&app), app.pexip.rooms().len()), (0, 2));
}

#[tokio::test]
async fn a_delete_whose_process_is_killed_is_finished_by_the_next_process() {
    let removal = Matching::method(Method::DELETE);
    let disconnect = Matching::method(Method::GET).path_contains("/status/v1/conference/").query_contains("name=");
    for (killed_at, is_removed) in [(removal, false), (disconnect, true)] {
        let (app, program) = TestApp::with()
            .set("POOL_TARGET_SIZE", 0)
            // The call must still wait when the process is killed.
            .set("REQUEST_DEADLINE_SECONDS", 110)
            .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 100)
            .start_program()
            .await;
        let name = app.create_room().await.room();
        app.pexip.join(&name, Role::Guest);
        app.pexip.traffic().inject(killed_at.clone(), Times::Once, Fault::Stall);
        let request = app.request(Method::DELETE, &format!("room/{name}")).bearer_auth(app.entra.token().build());
        let answer = tokio::spawn(request.send());
        eventually("the call waits", async || app.pexip.traffic().count(&killed_at) >= 1).await;
        assert_eq!(messages(&app), [format!("deleted {name}")], "noted before the room is removed");
        assert_eq!(app.pexip.room(&name).is_none(), is_removed);

        program.signal("KILL");
        program.ended().await;
        assert!(answer.await.expect("a task").is_err(), "nobody was answered");
        app.pexip.traffic().heal();
        assert!(app.pexip.is_running(&name));
        app.queue.advance(Duration::from_secs(31));
        let next = Program::start(&["serve"], app.settings_of_a_program());

        let is_over = async || app.pexip.room(&name).is_none() && !app.pexip.is_running(&name);
        eventually("room and call are ended", is_over).await;
        drop(next);
    }
}
