//! What the maintenance run ends and what it keeps. Clocks are injected, so that ages pass without waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Ahead, TAG, TestApp, eventually, time_between_readings_passes, time_passes};

const HOUR: i64 = 3600;

fn mark(name: &str, seconds_ago: i64) -> String {
    let at = OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    format!("{name}={}", at.truncate_to_second().format(&Rfc3339).expect("a time"))
}

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}")
}

fn handed_out(number: usize, seconds_ago: i64) -> StoredRoom {
    StoredRoom::named(name(number)).tagged(TAG).described(mark("handed-out", seconds_ago))
}

fn unused(number: usize, ready_until_seconds_ago: i64) -> StoredRoom {
    StoredRoom::named(name(number)).described(mark("ready-until", ready_until_seconds_ago))
}

/// Two runs, far enough apart to count as two readings.
async fn sweep_twice(app: &TestApp) {
    app.fill_pool().await;
    time_between_readings_passes().await;
    app.fill_pool().await;
}

fn deletions(app: &TestApp) -> usize {
    app.pexip.traffic().count(&Matching::method(Method::DELETE))
}

#[tokio::test]
async fn rooms_past_their_time_are_ended_after_two_readings_and_others_stay() {
    let app = Ahead::default().builder().start().await;
    for room in [unused(1, HOUR + 60), handed_out(2, 5 * HOUR + 60)] {
        app.pexip.insert(room);
    }
    // Within the margin of an hour; handed out for a shorter time; not yet past its mark.
    for room in [unused(3, HOUR - 60), handed_out(4, 5 * HOUR - 60), unused(5, -HOUR)] {
        app.pexip.insert(room);
    }

    app.fill_pool().await;
    assert_eq!(deletions(&app), 0, "one reading is not enough");
    sweep_twice(&app).await;

    let mut left: Vec<_> = app.pexip.rooms().into_iter().map(|room| room.name).collect();
    left.sort();
    assert_eq!(left, [name(3), name(4), name(5)]);
}

#[tokio::test]
async fn a_room_is_old_only_if_both_clocks_say_so() {
    let ahead = Ahead::default();
    let app = ahead.builder().start().await;
    app.pexip.insert(handed_out(1, HOUR));

    ahead.set_ours(5 * HOUR);
    sweep_twice(&app).await;
    ahead.set_ours(0);
    app.pexip.traffic().set_clock_offset(5 * HOUR);
    sweep_twice(&app).await;
    assert_eq!(deletions(&app), 0);

    ahead.set_both(&app, 5 * HOUR);
    sweep_twice(&app).await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn an_occupied_room_is_not_swept() {
    for occupy in [
        (|app: &TestApp| drop(app.pexip.join(&name(1), Role::Guest))) as fn(&TestApp),
        |app| drop(app.pexip.join(&name(1), Role::Chair)),
        |app| drop(app.pexip.wait_for_pin(&name(1))),
    ] {
        let app = Ahead::default().builder().start().await;
        app.pexip.insert(handed_out(1, 6 * HOUR));
        occupy(&app);

        sweep_twice(&app).await;
        assert_eq!(deletions(&app), 0);

        app.pexip.leave_all(&name(1));
        sweep_twice(&app).await;
        assert_eq!(deletions(&app), 1);
    }
}

#[tokio::test]
async fn a_participant_who_joins_during_a_slow_sweep_keeps_the_room() {
    let slow_node = Ahead::default().builder().set("PEXIP_REQUEST_TIMEOUT_SECONDS", 30);
    let app = slow_node.set("REQUEST_DEADLINE_SECONDS", 60).start().await;
    let ids = [1, 2].map(|number| app.pexip.insert(handed_out(number, 6 * HOUR)));
    app.fill_pool().await;
    time_between_readings_passes().await;
    let slow = Fault::Slow(Duration::from_secs(12));
    app.pexip.traffic().inject(Matching::method(Method::DELETE), Times::Once, slow);

    let participant_joins = async {
        eventually("the first room is being swept", async || deletions(&app) == 1).await;
        let first = Matching::method(Method::DELETE).path_contains(format!("/{}/", ids[0]));
        let second = name(if app.pexip.traffic().count(&first) == 1 { 2 } else { 1 });
        app.pexip.join(&second, Role::Guest);
        time_passes(Duration::from_secs(13)).await;
        second
    };
    let (second, ()) = tokio::join!(participant_joins, app.fill_pool());

    assert_eq!(deletions(&app), 1);
    assert!(app.pexip.is_running(&second) && app.pexip.room(&second).is_some());
    // The earlier reading is forgotten: two new ones are needed.
    app.pexip.leave_all(&second);
    app.fill_pool().await;
    assert_eq!(deletions(&app), 1);
}

#[tokio::test]
async fn a_room_with_dialled_legs_only_is_empty() {
    let app = Ahead::default().builder().start().await;
    app.pexip.add_automatic_participant(7, "Queue@SBC.example.org");
    app.pexip.insert(StoredRoom { automatic_participants: vec![7], ..handed_out(1, 6 * HOUR) });
    app.pexip.dial_out_leg(&name(1));

    sweep_twice(&app).await;

    assert!(app.pexip.room(&name(1)).is_none());
}

#[tokio::test]
async fn a_citizen_whom_the_agent_dials_is_somebody() {
    let app = Ahead::default().builder().start().await;
    app.pexip.add_automatic_participant(7, "sip:another-queue@sbc.example.org");
    for (number, participants) in [(1, vec![]), (2, vec![7])] {
        app.pexip.insert(StoredRoom { automatic_participants: participants, ..handed_out(number, 6 * HOUR) });
        app.pexip.dial_out_leg(&name(number));
    }

    sweep_twice(&app).await;

    assert!(app.pexip.is_running(&name(1)) && app.pexip.is_running(&name(2)));
    assert_eq!(deletions(&app), 0);
}

#[tokio::test]
async fn a_participant_who_returns_between_the_readings_keeps_the_room() {
    let app = Ahead::default().builder().start().await;
    app.pexip.insert(handed_out(1, 6 * HOUR));
    app.fill_pool().await;
    app.pexip.join(&name(1), Role::Guest);
    sweep_twice(&app).await;
    app.pexip.leave_all(&name(1));

    app.fill_pool().await;
    assert_eq!(deletions(&app), 0, "the first reading is forgotten");
}

#[tokio::test]
async fn the_absolute_lifetime_ends_an_occupied_room() {
    let app = Ahead::default().builder().start().await;
    app.pexip.insert(handed_out(1, 13 * HOUR + 60));
    app.pexip.join(&name(1), Role::Guest);

    app.fill_pool().await;

    assert!(app.pexip.room(&name(1)).is_none());
    assert!(!app.pexip.is_running(&name(1)));
}

#[tokio::test]
async fn foreign_rooms_and_rooms_without_marks_are_never_swept() {
    let ahead = Ahead::default();
    let app = ahead.builder().start().await;
    app.pexip.insert(StoredRoom::named("boardroom").tagged(TAG).described(mark("handed-out", 100 * HOUR)));
    app.pexip.insert(StoredRoom::named("edge-01jd5p3xk8qqqqqqqqqqqqqqqq").described(mark("ready-until", 100 * HOUR)));
    app.pexip.insert(StoredRoom::named(name(1)));
    app.pexip.insert(StoredRoom::named(name(2)).tagged(TAG).described("a note of an operator"));

    ahead.set_both(&app, 1000 * HOUR);
    sweep_twice(&app).await;

    assert_eq!(app.pexip.rooms().len(), 4);
}

#[tokio::test]
async fn a_run_stops_at_its_cap_of_deletions() {
    let app = Ahead::default().builder().set("SWEEP_MAX_DELETIONS", 3).start().await;
    for number in 0..8 {
        app.pexip.insert(handed_out(number, 6 * HOUR));
    }

    sweep_twice(&app).await;
    assert_eq!(app.pexip.rooms().len(), 5);

    app.fill_pool().await;
    assert_eq!(app.pexip.rooms().len(), 2, "the others were empty in two readings by then");
}

#[tokio::test]
async fn each_room_is_read_again_before_it_is_deleted() {
    for change in [
        (|room: StoredRoom| room.tagged("https://id.gov.bc.ca/idcheck/another")) as fn(StoredRoom) -> StoredRoom,
        |room| room.described(mark("handed-out", 1)),
        |room| StoredRoom { name: "boardroom".into(), ..room },
    ] {
        let app = Ahead::default().builder().start().await;
        let id = app.pexip.insert(handed_out(1, 6 * HOUR));
        app.fill_pool().await;
        time_between_readings_passes().await;
        // The list of the second run shows the old state, the read by id the new one.
        let reading = Matching::any().path_contains("/status/v1/participant");
        app.pexip.traffic().clear();
        app.pexip.traffic().inject(reading.clone(), Times::Once, Fault::Stall);
        let changed = async {
            eventually("the second reading", async || app.pexip.traffic().count(&reading) == 1).await;
            let room = app.pexip.remove(&name(1)).expect("the room");
            app.pexip.insert(change(room).with_id(id));
            app.pexip.traffic().heal();
        };
        tokio::join!(app.fill_pool(), changed);

        assert_eq!(deletions(&app), 0);
    }
}

#[tokio::test]
async fn long_lists_are_read_page_by_page() {
    let app = Ahead::default()
        .builder()
        .set("SWEEP_MAX_DELETIONS", 2000)
        .set("PEXIP_REQUESTS_PER_MINUTE", 10_000)
        .start()
        .await;
    for number in 0..1100 {
        let name = format!("vbv-01jd5p3xk8qqqqqqqqqqqq{number:04}");
        app.pexip.insert(StoredRoom::named(name).tagged(TAG).described(mark("handed-out", 1)));
    }
    app.pexip.insert(
        StoredRoom::named("vbv-7zzzzzzzzzzzzzzzzzzzzzzzzz").tagged(TAG).described(mark("handed-out", 6 * HOUR)),
    );

    sweep_twice(&app).await;

    assert_eq!(app.pexip.rooms().len(), 1100);
}

#[tokio::test]
async fn after_a_restore_no_room_is_deleted_or_handed_out_twice() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 4).start().await;
    app.warm_up().await;
    let backup = app.pexip.rooms();
    let handed_out_before: Vec<_> =
        [app.create_room().await, app.create_room().await].map(|answer| answer.room()).into();

    // The backup is from before the hand-outs. A foreign room then gets the id that the next room had.
    app.pexip.stop().await;
    let next = backup.iter().map(|room| room.id).max().unwrap_or(0) + 1;
    app.pexip.restore_backup(backup, next);
    app.pexip.insert(StoredRoom::named("boardroom").tagged("https://id.gov.bc.ca/idcheck/x"));
    app.create_room().await.assert_problem(503, "pexip_unavailable");
    app.pexip.restart().await;

    let mut names = handed_out_before;
    eventually("the node is called again", async || app.create_room().await.status == 200).await;
    for _ in 0..3 {
        names.push(app.create_room().await.room());
    }
    app.fill_pool().await;
    let given = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), given, "no room is handed out twice");
    let boardroom = app.pexip.room("boardroom").expect("the foreign room");
    assert_eq!(boardroom.tag, "https://id.gov.bc.ca/idcheck/x");
    assert_eq!(deletions(&app), 0);
}

/// Sweeps for the second time, and does something while the first request that matches waits.
async fn sweep_and_meanwhile(app: &TestApp, request: Matching, act: impl FnOnce()) {
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(request.clone(), Times::Once, Fault::Stall);
    let acts = async {
        eventually("the request waits", async || app.pexip.traffic().count(&request) == 1).await;
        act();
        app.pexip.traffic().heal();
    };
    tokio::join!(app.fill_pool(), acts);
}

#[tokio::test]
async fn who_comes_back_before_the_direct_look_is_answered_keeps_the_room() {
    let app = Ahead::default().builder().start().await;
    app.pexip.insert(handed_out(1, 6 * HOUR));
    app.fill_pool().await;
    time_between_readings_passes().await;

    let look = Matching::method(Method::GET).path_contains("/status/v1/participant/").query_contains("conference=");
    sweep_and_meanwhile(&app, look, || drop(app.pexip.join(&name(1), Role::Guest))).await;

    assert_eq!(deletions(&app), 0);
    assert!(app.pexip.is_running(&name(1)));
}

#[tokio::test]
async fn who_comes_back_during_the_delete_keeps_the_call() {
    let app = Ahead::default().builder().start().await;
    app.pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    app.pexip.insert(StoredRoom { automatic_participants: vec![7], ..handed_out(1, 6 * HOUR) });
    app.pexip.dial_out_leg(&name(1));
    app.fill_pool().await;
    time_between_readings_passes().await;

    let joins = || drop(app.pexip.join(&name(1), Role::Guest));
    sweep_and_meanwhile(&app, Matching::method(Method::DELETE), joins).await;

    assert!(app.pexip.room(&name(1)).is_none());
    assert!(app.pexip.is_running(&name(1)));
}

/// Two readings of two pages each. Between the pages others leave, so the guest moves from page two to page one; after the
/// second reading the guest leaves too.
#[tokio::test]
async fn nobody_is_hidden_when_others_leave_between_two_pages_of_participants() {
    let app = Ahead::default().builder().start().await;
    app.pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    app.pexip.insert(StoredRoom { automatic_participants: vec![7], ..handed_out(1, 6 * HOUR) });
    for room in ["first", "second"] {
        app.pexip.insert(StoredRoom::named(room));
        app.pexip.join(room, Role::Guest);
    }
    app.pexip.insert(StoredRoom::named("boardroom"));
    for _ in 2..499 {
        app.pexip.join("boardroom", Role::Guest);
    }
    let participants = || Matching::method(Method::GET).path_contains("/status/v1/participant/");
    // With and without an overlap of the pages.
    let second_page = [450, 500].map(|offset| participants().query_contains(format!("offset={offset}")));
    let direct_look = Matching::method(Method::GET).path_contains("/status/v1/conference/").query_contains("name=");

    for leaves in ["first", "second"] {
        // The leg is the last one of the first page, the guest the first one of the second.
        app.pexip.leave_all(&name(1));
        app.pexip.dial_out_leg(&name(1));
        app.pexip.join(&name(1), Role::Guest);
        app.pexip.join("boardroom", Role::Guest);
        let traffic = app.pexip.traffic();
        traffic.clear();
        for page in &second_page {
            traffic.inject(page.clone(), Times::Once, Fault::Stall);
        }
        let is_over = AtomicBool::new(false);
        let run = async {
            app.fill_pool().await;
            is_over.store(true, Ordering::Relaxed);
        };
        let acts = async {
            eventually("the second page is asked for", async || second_page.iter().any(|page| traffic.count(page) > 0))
                .await;
            app.pexip.leave_all(leaves);
            traffic.heal();
            traffic.inject(direct_look.clone(), Times::Once, Fault::Stall);
            eventually("nobody is seen in the room, or the run is over", async || {
                traffic.count(&direct_look) > 0 || is_over.load(Ordering::Relaxed)
            })
            .await;
            if leaves == "second" {
                app.pexip.leave_all(&name(1));
            }
            traffic.heal();
        };
        tokio::join!(run, acts);
        time_between_readings_passes().await;
    }

    assert_eq!(deletions(&app), 0, "somebody was there at both looks");
}
