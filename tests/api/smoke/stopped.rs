//! A smoke test that is stopped by a signal deletes its rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf::telemetry::VERSION;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Method, StatusCode};

use super::proxy::{Delivery, ProxiedAnswer, ProxiedRequest, Proxy};
use super::{Smoke, handed_out, healthy_service};
use crate::support::{Call, TestApp, eventually};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

const NOTHING_LEFT: &str = "maxconf: stopped; no room of this test is left behind";

/// Slower than a signal, and faster than the limit for a create after a stop.
const SLOWLY: Delivery = Delivery::After(Duration::from_secs(1));

/// A phase of the test, and a change to answers that returns whether it has been reached.
type Phase = (&'static str, fn(&ProxiedRequest, &mut ProxiedAnswer) -> bool);

const PHASES: [Phase; 9] = [
    ("waiting for the version", |request, answer| {
        let reached = request.path == "/health/live";
        if reached {
            answer.set("maxconf-version", "0.0.0");
        }
        reached
    }),
    ("waiting for readiness", |request, answer| {
        let reached = request.path == "/health/ready";
        if reached {
            answer.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        reached
    }),
    ("refusals without a token", |request, answer| slowly(request.method == Method::PUT, answer)),
    ("refusals with a token", |request, answer| slowly(request.method == Method::POST && answer.status == 400, answer)),
    ("create", |request, answer| slowly(request.method == Method::POST && answer.status == 200, answer)),
    ("public read", |request, answer| slowly(request.is(&Method::GET, "/public/room/vbv-"), answer)),
    ("delete", |request, answer| slowly(request.is(&Method::DELETE, "/room/vbv-"), answer)),
    ("public read of the deleted room", |request, answer| {
        slowly(request.is(&Method::GET, "/public/room/vbv-") && answer.status == 404, answer)
    }),
    ("waiting for a fresh readiness", |request, answer| {
        let reached = request.is(&Method::GET, "/public/room/vbv-") && answer.status == 200;
        if reached {
            answer.status = StatusCode::GATEWAY_TIMEOUT;
            answer.set_member("code", "deadline_exceeded");
        }
        reached
    }),
];

fn slowly(reached: bool, answer: &mut ProxiedAnswer) -> bool {
    if reached {
        answer.delivery = SLOWLY;
    }
    reached
}

/// A host in front of the service that counts how often `happens` is true. It continues after its caller has gone.
async fn counting(
    app: &TestApp,
    happens: impl Fn(&ProxiedRequest, &mut ProxiedAnswer) -> bool + Send + Sync + 'static,
) -> (Proxy, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let proxy = Proxy::tampering(app, move |request, answer| {
        seen.fetch_add(usize::from(happens(request, answer)), Ordering::Relaxed);
    })
    .await;
    (proxy, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_any_phase_deletes_the_rooms() {
    let rows = PHASES.into_iter().flat_map(|phase| SIGNALS.map(|signal| (phase, signal)));
    stream::iter(rows)
        .map(|(phase, signal)| assert_rooms_deleted(phase, signal))
        .buffer_unordered(4)
        .collect::<()>()
        .await;
}

async fn assert_rooms_deleted((phase, happens): Phase, (signal, code): (&str, i32)) {
    let app = healthy_service().await;
    let (host, count) = counting(&app, happens).await;
    let mut smoke = Smoke::of(&app).at(host.url());
    smoke.arguments = ["--json", "--wait", "600", "--expect-version", VERSION].map(str::to_owned).into();
    let program = smoke.start();
    eventually(phase, async || count.load(Ordering::Relaxed) > 0).await;

    program.signal(signal);
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(code), "{signal} while {phase}: {ended:#?}");
    assert_eq!(ended.stderr.last().map(String::as_str), Some(NOTHING_LEFT), "{signal} while {phase}: {ended:#?}");
    assert!(ended.stdout.is_empty(), "{ended:#?}");
    smoke.assert_reveals_no_secret(&ended);
    assert_eq!(handed_out(&app), Vec::<String>::new(), "{signal} while {phase}");
}

#[tokio::test]
async fn a_signal_during_the_token_request_stops_at_once() {
    for (signal, code) in SIGNALS {
        let app = healthy_service().await;
        let token = Matching::any().path_contains("/token");
        app.entra.traffic().inject(token.clone(), Times::Always, Fault::Stall);
        let program = Smoke::of(&app).start();
        eventually("Entra gets the request", async || app.entra.traffic().count(&token) > 0).await;

        program.signal(signal);
        let ended = program.ended().await;

        assert_eq!((ended.code, &*ended.stderr), (Some(code), &[NOTHING_LEFT.to_owned()][..]), "{ended:#?}");
    }
}

/// The signal arrives while the service waits for Pexip.
#[tokio::test]
async fn a_stopped_test_waits_for_the_name_of_a_room_that_is_being_created() {
    for (signal, code) in SIGNALS {
        let app = healthy_service().await;
        let tag = Call::PexipTag.matching();
        app.pexip.traffic().inject(tag.clone(), Times::Always, Fault::Slow(Duration::from_secs(1)));
        // Behind a host the service does not notice that the caller has gone, so it does not destroy the room.
        let (host, _) = counting(&app, |_, _| false).await;
        let program = Smoke::of(&app).at(host.url()).start();
        eventually("the tag is being written", async || app.pexip.traffic().count(&tag) > 0).await;

        program.signal(signal);
        let ended = program.ended().await;

        assert_eq!((ended.code, &*ended.stderr), (Some(code), &[NOTHING_LEFT.to_owned()][..]), "{ended:#?}");
        let tags = || app.pexip.traffic().log().into_iter().filter(|call| call.method == Method::PATCH);
        eventually("every tag is written", async || tags().all(|call| call.status.is_some())).await;
        assert!(tags().count() > 0, "a room was handed out");
        assert_eq!(handed_out(&app), Vec::<String>::new(), "{signal}");
    }
}

#[tokio::test]
async fn the_clean_up_ends_in_time_or_by_a_second_signal_and_names_the_rooms_left() {
    for (second, code) in [(None, 130), (Some("TERM"), 143)] {
        let app = healthy_service().await;
        let (host, deletes) = counting(&app, |request, answer| {
            let is_delete = request.is(&Method::DELETE, "/room/vbv-");
            if is_delete || request.is(&Method::GET, "/public/room/vbv-") {
                answer.delivery = Delivery::Never;
            }
            is_delete
        })
        .await;
        let reads = Call::GenesysUser;
        let program = Smoke::of(&app).at(host.url()).start();
        eventually("the room is read", async || reads.traffic(&app).count(&reads.matching()) > 0).await;

        program.signal("INT");
        eventually("the room is deleted", async || deletes.load(Ordering::Relaxed) > 0).await;
        if let Some(second) = second {
            program.signal(second);
        }
        let ended = program.ended().await;

        assert_eq!(ended.code, Some(code), "{second:?}: {ended:#?}");
        let said = ended.stderr.join("\n");
        assert!(said.contains("vbv-") && said.contains("is left behind until the sweep deletes it"), "{ended:#?}");
    }
}
