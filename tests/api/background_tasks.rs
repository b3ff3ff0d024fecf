//! A panic in a background task: the task is started again, and rooms are handed out as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use maxconf_simulators::{Fault, Times};
use reqwest::Method;
use serde_json::json;

use crate::support::{Call, CapturedLog, TestApp, eventually, opening_in, time_passes, time_passes_until};

const POOL_TARGET_SIZE: usize = 4;

/// Whether the service has logged that this task panicked and is started again.
fn has_panicked(log: &CapturedLog, task: &str) -> bool {
    let marks = ["background task ended, restarting", &format!(r#""task":"{task}""#), r#""reason":"panicked""#];
    log.after(0).lines().any(|line| marks.iter().all(|mark| line.contains(mark)))
}

/// Rooms come from the pool, and what is taken is provisioned again: one more comes than a full pool has.
async fn hands_out_from_the_pool(app: &TestApp) {
    let taken = AtomicUsize::new(0);
    time_passes_until("rooms come from the pool", app, async || {
        let answer = app.create_room().await;
        if answer.status == 200 && answer.header("room-source") == "pool" {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        taken.load(Ordering::Relaxed) > POOL_TARGET_SIZE
    })
    .await;
}

/// The clock is what a test can break: every task reads it somewhere. The task of Entra's keys does so only in a read, which
/// is a task of its own; `auth/entra/keys.rs` tests that.
#[tokio::test]
async fn a_panic_in_each_background_task_is_survived() {
    let log = CapturedLog::start();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let clock = move || {
        assert!(!broken.load(Ordering::SeqCst), "a panic that the test asks for");
        SystemTime::now()
    };
    let hours = opening_in(90).0;
    let app = TestApp::with()
        .oauth2()
        .set("POOL_TARGET_SIZE", POOL_TARGET_SIZE)
        .set("SERVICE_HOURS", hours)
        .set("PEXIP_EVENT_USERNAME", "events")
        .set("PEXIP_EVENT_PASSWORD", "of the events")
        .set("ROOM_END_GRACE_SECONDS", 0)
        .clock(clock)
        .start()
        .await;
    app.warm_up().await;

    // One room is owed to the pool, and the conference of one has ended.
    app.queue.traffic().inject(Call::QueueCount.matching(), Times::Always, Fault::Stall);
    let room = app.create_room().await.room();
    let event =
        json!({ "node": "10.47.2.21", "seq": 1, "version": 2, "event": "conference_ended", "data": { "name": room } });
    let report = app.request(Method::POST, "public/event_sink").basic_auth("events", Some("of the events"));
    assert_eq!(app.send(report.json(&event)).await.status, 204);
    app.pexip.stop().await;
    app.delete_room(&room).await.assert_problem(503, "service_closed");

    // The latest count of the rooms is too old for a refill by then, and a new one reads the clock.
    time_passes(Duration::from_secs(11)).await;
    is_broken.store(true, Ordering::SeqCst);
    app.queue.traffic().heal();
    for task in ["prefetch", "refill", "reopening", "ended_rooms"] {
        time_passes_until(&format!("{task} panics"), &app, async || has_panicked(&log, task)).await;
    }
    is_broken.store(false, Ordering::SeqCst);
    app.pexip.restart().await;
    hands_out_from_the_pool(&app).await;
    time_passes_until("the room of the conference is ended", &app, async || app.pexip.room(&room).is_none()).await;

    // The token is renewed within the hour.
    is_broken.store(true, Ordering::SeqCst);
    eventually("pexip_tokens panics", async || {
        time_passes(Duration::from_secs(30)).await;
        for _ in 0..5 {
            app.send(app.request(Method::GET, "health/live")).await;
        }
        has_panicked(&log, "pexip_tokens")
    })
    .await;
    is_broken.store(false, Ordering::SeqCst);
    hands_out_from_the_pool(&app).await;
}
