//! Health routes, which load balancer, slot swap and smoke test call without a token.

use maxconf::telemetry::{COMMIT, VERSION};
use maxconf_simulators::{EntraSimulator, Fault, Matching, Times};
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;

use crate::support::{Answer, TestApp, eventually, on_every_host, stop_time};

async fn ready(app: &TestApp) -> Answer {
    app.send(app.request(Method::GET, "health/ready")).await
}

/// Asserts that the service is not ready for these reasons, and for no others.
#[track_caller]
fn assert_not_ready(answer: &Answer, failing: &[&str]) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "5", "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], "not_ready", "{answer:?}");
    for dependency in ["entra", "queue", "records", "pexip"] {
        let expected = if failing.contains(&dependency) { "failing" } else { "ok" };
        assert_eq!(body["checks"][dependency], expected, "{dependency}: {answer:?}");
    }
    assert_eq!(body["checks"].as_object().map(serde_json::Map::len), Some(4), "{answer:?}");
}

#[tokio::test]
async fn live_shows_version_and_slot_and_causes_no_upstream_call() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("MAXCONF_ENVIRONMENT", "test")
        .set("MAXCONF_SLOT", "blue-2")
        .set("UUI_DATA_FORMAT", "bytes")
        .set("ROOM_HOST_PIN", "per-room")
        .set("ROOM_AUTOMATIC_PARTICIPANTS", "none")
        .set("ENTRA_ALLOWED_CLIENT_IDS", "*")
        .start()
        .await;
    for request in [app.request(Method::GET, "health/live"), app.request(Method::GET, "health/live").bearer_auth("x")] {
        let answer = app.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let expected = json!({ "status": "live", "version": VERSION,
                               "commit": COMMIT, "environment": "test", "slot": "blue-2" });
        assert_eq!(answer.json(), expected);
    }
    assert!(!COMMIT.is_empty());
    app.assert_no_outside_calls("live");
}

#[tokio::test]
async fn health_without_a_probe_answers_as_the_earlier_system_does() {
    let now = OffsetDateTime::from_unix_timestamp_nanos(1_772_663_531_234_996_789).expect("a time");
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).clock(move || now.into()).start().await;
    tokio::join!(app.pexip.stop(), app.queue.stop(), app.entra.stop(), app.genesys.stop());

    let answer = app.send(app.request(Method::GET, "health")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), json!({ "status": "alive", "timestamp": "2026-03-04T22:32:11.234996" }));
    app.assert_no_outside_calls("alive");
}

#[tokio::test]
async fn health_is_served_behind_every_host() {
    on_every_host(
        || TestApp::with().set("POOL_TARGET_SIZE", 0),
        async |app| {
            for (path, status) in [("health", "alive"), ("health/live", "live")] {
                let answer = app.send(app.request(Method::GET, path)).await;
                assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!(status)), "{path}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn live_succeeds_while_every_dependency_is_down() {
    let app = TestApp::without_pool().await;
    tokio::join!(app.pexip.stop(), app.queue.stop(), app.entra.stop(), app.genesys.stop());
    let answer = app.send(app.request(Method::GET, "health/live")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["status"].as_str()), (200, Some("live")));
}

#[tokio::test]
async fn a_service_whose_dependencies_answer_is_ready() {
    let app = TestApp::start().await;
    app.entra_keys_are_read().await;
    app.fill_pool().await;
    let answer = ready(&app).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({ "status": "ready", "checks": { "entra": "ok", "queue": "ok", "records": "ok", "pexip": "ok" },
                           "version": VERSION, "commit": COMMIT,
                           "environment": "local", "slot": "production" });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_service_whose_queue_has_not_been_made_yet_is_ready() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let answer = ready(&app).await;
    assert_eq!((answer.status.as_u16(), answer.json()["checks"]["queue"].as_str()), (200, Some("ok")), "{answer:?}");
}

#[tokio::test]
async fn the_dependency_that_is_down_is_named() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    app.pexip.stop().await;
    assert_not_ready(&ready(&app).await, &["pexip"]);

    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    app.queue.stop().await;
    assert_not_ready(&ready(&app).await, &["queue"]);

    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    app.blobs.stop().await;
    assert_not_ready(&ready(&app).await, &["records"]);

    let entra = EntraSimulator::start().await;
    entra.stop().await;
    let builder = TestApp::with().set("POOL_TARGET_SIZE", 0);
    let app = builder.set("ENTRA_AUTHORITY_URL", entra.authority_url()).start().await;
    assert_not_ready(&ready(&app).await, &["entra"]);

    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    tokio::join!(app.pexip.stop(), app.queue.stop(), app.entra.stop());
    // The keys that were read before still verify tokens.
    assert_not_ready(&ready(&app).await, &["pexip", "queue"]);
}

#[tokio::test]
async fn a_dependency_that_refuses_errs_or_stalls_is_down() {
    for fault in [Fault::Status(401), Fault::Status(403), Fault::Status(500), Fault::Rubbish, Fault::HangUpBefore] {
        let app = TestApp::without_pool().await;
        app.entra_keys_are_read().await;
        app.queue.traffic().inject(Matching::any(), Times::Always, Fault::Status(403));
        app.pexip.traffic().inject(Matching::any(), Times::Always, fault.clone());
        assert_not_ready(&ready(&app).await, &["pexip", "queue"]);
    }
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).start().await;
    app.entra_keys_are_read().await;
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    assert_not_ready(&ready(&app).await, &["pexip"]);
}

#[tokio::test]
async fn an_account_that_may_not_see_pins_is_not_ready() {
    let app = TestApp::start().await;
    app.entra_keys_are_read().await;
    app.fill_pool().await;
    app.pexip.hide_pins();
    assert_not_ready(&ready(&app).await, &["pexip"]);
}

#[tokio::test]
async fn a_service_some_of_whose_rooms_have_lost_their_pins_is_ready() {
    let app = TestApp::start().await;
    app.entra_keys_are_read().await;
    app.fill_pool().await;
    for room in &mut app.pexip.rooms()[1..] {
        room.pin.clear();
        app.pexip.remove(&room.name).expect("the room");
        app.pexip.insert(room.clone());
    }
    assert_eq!(ready(&app).await.status, 200);
}

#[tokio::test]
async fn many_probes_are_one_question() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let probes = (0..30).map(|_| ready(&app));
    for answer in futures_util::future::join_all(probes).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    app.pexip.stop().await;
    assert_eq!(ready(&app).await.status, 200);
    assert_eq!((app.pexip.traffic().log().len(), app.queue.traffic().log().len()), (1, 1));

    // Bad news is not asked for again and again either, and is not kept for ever.
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Status(500));
    for _ in 0..10 {
        assert_not_ready(&ready(&app).await, &["pexip"]);
    }
    assert_eq!(app.pexip.traffic().log().len(), 1);
    app.pexip.traffic().heal();
    eventually("the service is ready again", async || ready(&app).await.status == 200).await;
    assert_eq!(app.pexip.traffic().log().len(), 2);
}

#[tokio::test]
async fn probes_that_hang_up_cause_no_additional_calls() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    app.pexip.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    for _ in 0..5 {
        let probe = tokio::spawn(app.request(Method::GET, "health/ready").send());
        eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
        probe.abort();
        // One round trip, so that the service has noticed the abort.
        assert_eq!(app.send(app.request(Method::GET, "health/live")).await.status, 200);
    }

    let pexip_answers = async {
        let is_answered = async || {
            app.pexip.traffic().heal();
            app.pexip.traffic().log().iter().all(|call| call.status.is_some())
        };
        eventually("Pexip has answered", is_answered).await;
    };
    let (last, ()) = tokio::join!(ready(&app), pexip_answers);
    assert_eq!(last.status, 200);
    assert_eq!((app.pexip.traffic().log().len(), app.queue.traffic().log().len()), (1, 1));
}

#[tokio::test]
async fn no_answer_holds_an_address_an_account_or_a_cause() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    app.pexip.set_password("changed");
    app.queue.stop().await;
    let answers = [ready(&app).await, app.send(app.request(Method::GET, "health/live")).await];
    assert_not_ready(&answers[0], &["pexip", "queue"]);
    for answer in answers {
        let shown = format!("{answer:?}");
        for secret in [
            app.pexip.username(),
            "room-service-password",
            "changed",
            "127.0.0.1",
            "localhost",
            "devstoreaccount",
            "AccountKey",
            "401",
            "refused",
            app.entra.tenant_id(),
            app.entra.audience(),
            app.genesys.organization_id(),
        ] {
            // The service's own name stands in a header and happens to be the account's.
            assert!(!shown.replace("maxconf-version", "").contains(secret), "{secret}: {shown}");
        }
    }
}

#[tokio::test]
async fn other_probes_are_not_found() {
    let app = TestApp::without_pool().await;
    for path in ["health/", "health/other", "health/LIVE", "health/live/", "health/%ff", "health/live/x"] {
        app.send(app.request(Method::GET, path)).await.assert_problem(404, "not_found");
    }
    for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
        for path in ["health", "health/live"] {
            app.send(app.request(method.clone(), path)).await.assert_problem(405, "method_not_allowed");
        }
    }
}
