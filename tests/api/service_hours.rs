//! Service hours: they refuse nothing, and name a Pexip that cannot be reached out of hours. When it is back, the pool is
//! filled.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use maxconf::config::Config;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::genesys_load::others_have_their_turn;
use crate::support::{
    ALWAYS_OPEN, Answer, CapturedLog, HANDED_OUT, POOL_QUEUE, TestApp, TestAppBuilder, UUI_DATA, World, eventually,
    opening_in, ready_room, stop_time, time_passes,
};

const HOUR: i64 = 3600;

/// Two hours later than the clock's, the hours of [`closed`] have been open for half an hour.
const TO_THE_OPENING: i64 = 2 * HOUR;

/// A clock that a test can set forwards and backwards.
#[derive(Clone, Default)]
struct Jumping(Arc<AtomicI64>);

impl Jumping {
    fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn service(&self) -> TestAppBuilder {
        let ahead = Arc::clone(&self.0);
        TestApp::with().clock(move || {
            let seconds = ahead.load(Ordering::Relaxed);
            let by = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
        })
    }
}

/// A service that opens in about one and a half hours.
fn closed(service: TestAppBuilder) -> TestAppBuilder {
    service.set("SERVICE_HOURS", opening_in(90).0)
}

/// How a node that is switched off, stopping or starting behaves.
fn ways_to_be_off() -> [Fault; 4] {
    [Fault::HangUpBefore, Fault::Status(500), Fault::Status(503), Fault::Stall]
}

fn pexip_shows(app: &TestApp, fault: Fault) {
    app.pexip.traffic().inject(Matching::any(), Times::Always, fault);
}

/// A token that outlives every jump of the clock.
fn token(app: &TestApp) -> String {
    app.entra.token().expires_in(20 * HOUR).build()
}

async fn create(app: &TestApp) -> Answer {
    let path = format!("room/create?uuiData={UUI_DATA}");
    app.send(app.request(Method::POST, &path).bearer_auth(token(app))).await
}

/// Every answer that depends on Pexip.
async fn answers(app: &TestApp) -> [Answer; 5] {
    let path = format!("room/{HANDED_OUT}");
    let of_idim = |method, query: &str| app.request(method, &format!("{path}{query}")).bearer_auth(token(app));
    [
        create(app).await,
        app.read_as_agent(&app.genesys.issue_token()).await,
        app.send(of_idim(Method::GET, "")).await,
        app.send(of_idim(Method::GET, "?constrained_attributes=false")).await,
        app.send(of_idim(Method::DELETE, "")).await,
    ]
}

async fn ready(app: &TestApp) -> Answer {
    app.send(app.request(Method::GET, "health/ready")).await
}

/// Asserts a `service_closed` until `opening`, by the service's clock that is `ahead` of ours.
#[track_caller]
fn assert_closed(answer: &Answer, opening: OffsetDateTime) {
    answer.assert_problem(503, "service_closed");
    let wait: i64 = answer.header("retry-after").parse().expect("seconds");
    let longest = (opening - OffsetDateTime::now_utc()).whole_seconds() + 1;
    // The answer was written before now, but since this test began.
    assert!((longest..=90 * 60).contains(&wait), "{wait} s, {longest} s are left");
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_out_of_hours_is_closed_for_every_caller() {
    for fault in ways_to_be_off() {
        let (hours, opening) = opening_in(90);
        let app = TestApp::with().set("SERVICE_HOURS", hours).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).start().await;
        app.insert_handed_out_room();
        pexip_shows(&app, fault.clone());
        // The second time with an open circuit breaker.
        for _ in 0..2 {
            for answer in answers(&app).await {
                assert_closed(&answer, opening);
            }
        }
    }
    let (hours, opening) = opening_in(90);
    let app = TestApp::with().set("SERVICE_HOURS", hours).start().await;
    app.pexip.stop().await;
    for answer in answers(&app).await {
        assert_closed(&answer, opening);
    }
}

#[tokio::test]
async fn the_same_node_is_unavailable_in_hours() {
    for hours in [ALWAYS_OPEN, ""] {
        for fault in ways_to_be_off() {
            let app = TestApp::with().set("SERVICE_HOURS", hours).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).start().await;
            app.insert_handed_out_room();
            let expected = if fault == Fault::Stall { (504, "pexip_timeout") } else { (503, "pexip_unavailable") };
            pexip_shows(&app, fault);
            app.read_as_agent(&app.genesys.issue_token()).await.assert_problem(expected.0, expected.1);
        }
    }
}

#[tokio::test]
async fn a_node_that_answers_out_of_hours_is_used() {
    let app = closed(TestApp::with()).start().await;
    app.fill_pool().await;

    let room = app.create_room().await.room();

    assert_eq!(app.public_room(&room).await.room(), room);
    assert_eq!(app.delete_room(&room).await.status, 204);
    assert_eq!(ready(&app).await.json()["checks"]["pexip"], "ok");
}

#[tokio::test]
async fn a_node_that_refuses_out_of_hours_is_not_closed() {
    for (fault, status, code) in [
        (Fault::Status(401), 502, "pexip_refused"),
        (Fault::Status(400), 502, "pexip_refused"),
        (Fault::Status(429), 503, "pexip_unavailable"),
        (Fault::Rubbish, 502, "pexip_invalid"),
    ] {
        let app = closed(TestApp::with()).set("POOL_PREFETCH", 0).start().await;
        app.insert_handed_out_room();
        pexip_shows(&app, fault.clone());
        for _ in 0..5 {
            app.read_as_agent(&app.genesys.issue_token()).await.assert_problem(status, code);
        }
        if fault != Fault::Status(400) {
            let with_open_breaker = app.read_as_agent(&app.genesys.issue_token()).await;
            with_open_breaker.assert_problem(503, "pexip_unavailable");
            assert_eq!(ready(&app).await.status, 503, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_pool_is_closed_as_well_while_nothing_can_be_made() {
    let app = closed(TestApp::with()).set("POOL_EMPTY", "refuse").start().await;
    app.pexip.stop().await;
    app.run_maintenance().await;

    create(&app).await.assert_problem(503, "service_closed");

    app.pexip.restart().await;
    let app = closed(TestApp::with()).set("POOL_EMPTY", "refuse").set("POOL_TARGET_SIZE", 0).start().await;
    create(&app).await.assert_problem(503, "no_room");
}

#[tokio::test]
async fn nobody_is_told_to_wait_longer_than_a_day() {
    let app = TestApp::with().set("SERVICE_HOURS", opening_in(50 * 60).0).start().await;
    app.pexip.stop().await;

    assert_eq!(create(&app).await.header("retry-after"), "86400");
}

#[tokio::test]
async fn a_closed_service_is_ready_and_says_until_when() {
    let (hours, opening) = opening_in(90);
    let clock = Jumping::default();
    let app = clock.service().set("SERVICE_HOURS", hours).start().await;
    app.entra_keys_are_read().await;
    app.pexip.stop().await;

    let answer = ready(&app).await;

    let until = format!("closed until {}", opening.format(&Rfc3339).expect("a time"));
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &"ready".into()), "{answer:?}");
    assert_eq!(
        answer.json()["checks"],
        serde_json::json!({ "entra": "ok", "queue": "ok", "records": "ok", "pexip": until })
    );

    // Later than its opening it is an outage.
    clock.jump(TO_THE_OPENING);
    let fails = async || ready(&app).await.json()["checks"]["pexip"] == "failing";
    eventually("readiness fails", fails).await;

    // With the queue down as well it is not ready either.
    clock.jump(-TO_THE_OPENING);
    app.queue.stop().await;
    let fails = async || {
        let answer = ready(&app).await;
        answer.status == 503
            && answer.json()["checks"]["queue"] == "failing"
            && answer.json()["checks"]["pexip"] == until
    };
    eventually("readiness fails for the queue alone", fails).await;
}

#[tokio::test]
async fn a_clock_that_jumps_changes_the_name_at_once() {
    let clock = Jumping::default();
    let app = closed(clock.service()).set("POOL_TARGET_SIZE", 0).start().await;
    app.pexip.stop().await;

    create(&app).await.assert_problem(503, "service_closed");
    clock.jump(TO_THE_OPENING);
    let code = create(&app).await.json()["code"].as_str().map(ToOwned::to_owned);
    assert!(["pexip_unavailable", "no_room"].contains(&code.as_deref().unwrap_or_default()), "{code:?}");
    clock.jump(-TO_THE_OPENING);
    create(&app).await.assert_problem(503, "service_closed");
}

/// Waits until the pool has this many rooms, while the time of the runtime passes: the node is probed once a minute.
async fn pool_is_filled(app: &TestApp, rooms: usize) {
    eventually("the pool is filled", async || {
        time_passes(Duration::from_secs(1)).await;
        app.pexip.rooms().len() == rooms && app.queue.messages(POOL_QUEUE).len() == rooms
    })
    .await;
}

#[tokio::test]
async fn the_pool_is_filled_at_the_first_contact_without_the_timer() {
    let clock = Jumping::default();
    let app = closed(clock.service()).set("POOL_TARGET_SIZE", 7).start().await;
    app.pexip.stop().await;
    create(&app).await.assert_problem(503, "service_closed");

    clock.jump(TO_THE_OPENING);
    app.pexip.restart().await;

    pool_is_filled(&app, 7).await;
}

#[tokio::test]
async fn a_node_that_is_started_early_fills_the_pool_as_well() {
    let app = closed(TestApp::with()).start().await;
    app.pexip.stop().await;
    create(&app).await.assert_problem(503, "service_closed");

    app.pexip.restart().await;

    pool_is_filled(&app, 4).await;
}

#[tokio::test]
async fn an_outage_in_hours_is_left_to_the_timer() {
    let app = TestApp::with().set("SERVICE_HOURS", ALWAYS_OPEN).set("POOL_EMPTY", "refuse").start().await;
    app.pexip.stop().await;
    app.run_maintenance().await;
    app.pexip.restart().await;

    for _ in 0..30 {
        time_passes(Duration::from_secs(5)).await;
        others_have_their_turn(&app).await;
    }

    assert_eq!(app.pexip.rooms().len(), 0);
}

#[tokio::test]
async fn two_instances_do_not_fill_the_pool_twice() {
    let world = World::start().await;
    let (mut settings, hours) = (world.settings(), opening_in(90).0);
    settings.extend([("SERVICE_HOURS", hours), ("POOL_TARGET_SIZE", "12".to_owned())]);
    let second = TestApp::with();
    let second = settings.iter().fold(second, |service, (name, value)| service.set(name, value)).start().await;
    let first = TestApp::with();
    let first = settings.iter().fold(first, |service, (name, value)| service.set(name, value)).start().await;
    world.pexip.stop().await;
    for app in [&first, &second] {
        app.run_maintenance().await;
    }
    world.pexip.restart().await;

    eventually("the pool is filled", async || {
        time_passes(Duration::from_secs(1)).await;
        world.queue.messages(POOL_QUEUE).len() >= 12
    })
    .await;
    for _ in 0..30 {
        time_passes(Duration::from_secs(5)).await;
        others_have_their_turn(&first).await;
    }

    // Each may have had two rooms in progress when the other one put the last.
    assert!((12..=14).contains(&world.pexip.rooms().len()), "{} rooms", world.pexip.rooms().len());
}

#[tokio::test]
async fn tickets_past_their_age_are_replaced_at_the_first_contact() {
    let clock = Jumping::default();
    let app = closed(clock.service()).start().await;
    let until = OffsetDateTime::now_utc() + time::Duration::hours(1);
    let old: Vec<_> = (0..4).map(|number| format!("vbv-01jd5p3xk8qqqqqqqqqqqqqqq{number}")).collect();
    for name in &old {
        let mark = format!("ready-until={}", until.format(&Rfc3339).expect("a time"));
        app.pool_holds(ready_room(name).described(&mark));
    }
    app.pexip.stop().await;
    app.run_maintenance().await;

    clock.jump(TO_THE_OPENING);
    app.pexip.restart().await;
    eventually("as many new rooms are there", async || {
        time_passes(Duration::from_secs(1)).await;
        app.pexip.rooms().len() == 8
    })
    .await;

    // The queue's clock has not jumped: there the old tickets have not expired.
    let answer = create(&app).await;
    assert!(!old.contains(&answer.room()), "{answer:?}");
    assert_eq!(answer.header("room-source"), "pool");
}

/// Warnings and the events about closing, in what was logged.
fn events(log: &CapturedLog) -> (Vec<String>, Vec<String>) {
    let events: Vec<serde_json::Value> =
        log.after(0).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let message = |event: &serde_json::Value| event["message"].as_str().unwrap_or_default().to_owned();
    let warnings = events.iter().filter(|event| event["level"] == "WARN").map(message).collect();
    let about_closing = events.iter().map(message).filter(|message| message.starts_with("Pexip is ")).collect();
    (warnings, about_closing)
}

/// A night of five minutes with a pool, a timer, a load balancer and a citizen.
async fn a_night(app: &TestApp) {
    app.fill_pool().await;
    app.pexip.stop().await;
    for _ in 0..10 {
        time_passes(Duration::from_secs(31)).await;
        app.run_maintenance().await;
        ready(app).await;
        create(app).await;
    }
}

#[tokio::test]
async fn a_night_is_logged_by_two_events_and_no_warning() {
    let log = CapturedLog::start();
    let app = closed(TestApp::with()).start().await;
    app.entra_keys_are_read().await;
    a_night(&app).await;
    assert_eq!(events(&log), (vec![], vec!["Pexip is closed".to_owned()]));

    app.pexip.restart().await;
    eventually("Pexip is back", async || {
        time_passes(Duration::from_secs(5)).await;
        events(&log).1 == ["Pexip is closed", "Pexip is back"]
    })
    .await;
}

#[tokio::test]
async fn an_outage_in_hours_is_logged_by_warnings() {
    let log = CapturedLog::start();
    let app = TestApp::with().set("SERVICE_HOURS", ALWAYS_OPEN).start().await;
    app.entra_keys_are_read().await;
    a_night(&app).await;

    let (warnings, about_closing) = events(&log);
    assert!(warnings.len() >= 10 && about_closing.is_empty(), "{warnings:?} {about_closing:?}");
}

#[tokio::test]
async fn a_closed_node_is_probed_gently_and_an_outage_often() {
    async fn calls(app: &TestApp) -> usize {
        pexip_shows(app, Fault::Status(503));
        for _ in 0..5 {
            app.run_maintenance().await;
        }
        let _time = stop_time();
        app.pexip.traffic().clear();
        for _ in 0..300 {
            time_passes(Duration::from_secs(1)).await;
            app.run_maintenance().await;
        }
        app.pexip.traffic().log().len()
    }
    // Every half to whole minute, and in hours every 5 s.
    let while_closed = calls(&closed(TestApp::with()).start().await).await;
    assert!((4..=11).contains(&while_closed), "{while_closed}");
    let in_hours = calls(&TestApp::with().set("SERVICE_HOURS", ALWAYS_OPEN).start().await).await;
    assert!((40..=61).contains(&in_hours), "{in_hours}");
}

#[tokio::test]
async fn faulty_hours_are_faulty_settings_that_are_named_without_their_value() {
    let world = World::start().await;
    let hours = |hours: &str, dates: &str| {
        let mut settings = world.settings();
        settings.extend([("SERVICE_HOURS", hours.to_owned()), ("SERVICE_CLOSED_DATES", dates.to_owned())]);
        Config::read(|name| settings.get(name).map(OsString::from)).map(|_| ()).map_err(|invalid| invalid.to_string())
    };
    let good = "America/Vancouver Mon-Fri 07:30-17:00 Sat 09:00-17:00";
    for (weekly, dates) in [("", ""), (good, ""), (good, "2026-12-25, 2026-12-26"), (ALWAYS_OPEN, "")] {
        assert_eq!(hours(weekly, dates), Ok(()), "{weekly} {dates}");
    }
    for (weekly, dates, setting, reason) in [
        ("Mars/Phobos Mon 07:30-17:00", "", "SERVICE_HOURS", "must begin with a time zone"),
        ("UTC Mox 07:30-17:00", "", "SERVICE_HOURS", "word 2 is neither"),
        ("UTC Mon 17:00-07:30", "", "SERVICE_HOURS", "end after they begin"),
        ("UTC Mon-Wed 07:30-17:00 Tue 16:59-18:00", "", "SERVICE_HOURS", "two of Tue do"),
        (good, "2026-13-01", "SERVICE_CLOSED_DATES", "must be dates such as"),
        ("", "2026-12-25", "SERVICE_CLOSED_DATES", "is set, but SERVICE_HOURS is not"),
    ] {
        let faults = hours(weekly, dates).expect_err("faulty settings");
        let line = faults.lines().find(|line| line.contains(setting)).unwrap_or_default();
        assert!(line.contains(reason), "{weekly} {dates}: {faults}");
        for value in ["Mars", "Mox", "16:59", "2026-13"] {
            assert!(!faults.contains(value), "{faults}");
        }
    }
}
