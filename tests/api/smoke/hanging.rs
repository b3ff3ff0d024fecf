//! A service that accepts requests and does not answer: the smoke test ends in time and names the call.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Method, StatusCode};

use super::proxy::{Delivery, ProxiedAnswer, ProxiedRequest, Proxy};
use super::{BROKEN, COULD_NOT_TELL, HEALTHY, Smoke, checks_with, handed_out, healthy_service, outcomes, result};
use crate::support::Ended;

/// `--timeout`, in seconds. Calls that do not hang must be answered within it on a busy machine.
const TIMEOUT: &str = "8";

/// Runs that mostly wait.
const CONCURRENT_RUNS: usize = 7;

/// The calls that hang, the check that must report it, and how it names the call.
type Hang = (fn(&ProxiedRequest, &ProxiedAnswer) -> bool, &'static str, &'static str);

const HANGS: [Hang; 10] = [
    (|request, _| request.path == "/health/live", "version", "GET /health/live"),
    (|request, _| request.path == "/health/ready", "ready", "GET /health/ready"),
    (
        |request, answer| request.is(&Method::POST, "/room/create") && answer.status == 401,
        "create_without_token",
        "POST /room/create",
    ),
    (
        |request, _| request.method == Method::OPTIONS,
        "foreign_origin",
        "OPTIONS /public/room/maxconf-smoke-nobodys-room",
    ),
    (|request, _| request.method == Method::PUT, "wrong_method", "PUT /room/create"),
    (|request, answer| request.method == Method::POST && answer.status == 400, "uui_data_missing", "POST /room/create"),
    (|request, answer| request.method == Method::POST && answer.status == 200, "create", "POST /room/create"),
    (|_, answer| answer.status == 422, "key_reused", "POST /room/create"),
    (|request, _| request.is(&Method::GET, "/public/room/vbv-"), "public_read", "GET /public/room/vbv-"),
    (|request, _| request.is(&Method::DELETE, "/room/vbv-"), "delete", "DELETE /room/vbv-"),
];

fn detail(ended: &Ended, check: &str) -> String {
    let result = result(ended);
    let checks = result["checks"].as_array().expect("checks");
    let done = checks.iter().find(|done| done["name"] == check).expect("the check");
    done["detail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_ends_in_time_and_names_the_call_that_hangs() {
    let deliveries = [Delivery::Never, Delivery::Half, Delivery::Drip];
    // Calls that create and delete rooms hang in each way; the others in one way each.
    let rows = HANGS.into_iter().enumerate().flat_map(|(number, hang)| {
        let all = matches!(hang.1, "create" | "delete");
        deliveries
            .into_iter()
            .enumerate()
            .filter(move |(at, _)| all || number % 3 == *at)
            .map(move |(_, how)| (hang, how))
    });
    stream::iter(rows)
        .map(|(hang, how)| assert_reported(hang, how))
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

async fn assert_reported((hangs, check, call): Hang, how: Delivery) {
    let app = healthy_service().await;
    let proxy = Proxy::tampering(&app, move |request, answer| {
        if hangs(request, answer) {
            answer.delivery = how;
            // An empty body would arrive at once.
            answer.body.resize(answer.body.len().max(2), b' ');
            if answer.status == 204 {
                answer.status = StatusCode::OK;
            }
        }
    })
    .await;

    let ended = Smoke::of(&app).at(proxy.url()).with(&["--timeout", TIMEOUT]).run().await;

    let what = format!("{check} {how:?}: {ended:#?}");
    assert_eq!(ended.code, Some(BROKEN), "{what}");
    assert_eq!(outcomes(&ended)[check], "ours", "{what}");
    let detail_of = |check| detail(&ended, check);
    assert!(detail_of(check).starts_with(call), "{what}");
    assert!(detail_of(check).contains(": the service did not answer in time"), "{what}");
    match check {
        // The rooms' names are unknown.
        "create" => assert!(detail_of("clean_up").starts_with("a create had no answer"), "{what}"),
        // The rooms are deleted, but the answers did not arrive.
        "delete" => assert!(detail_of("clean_up").contains("is left behind"), "{what}"),
        _ => assert_eq!(handed_out(&app), Vec::<String>::new(), "{what}"),
    }
}

/// After a swap the first answer of an instance may be slow.
#[tokio::test]
async fn readiness_is_requested_again_after_a_timeout() {
    let app = healthy_service().await;
    let probes = AtomicUsize::new(0);
    let proxy = Proxy::tampering(&app, move |request, answer| {
        if request.path == "/health/ready" && probes.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.delivery = Delivery::Never;
        }
    })
    .await;
    let mut smoke = Smoke::of(&app).at(proxy.url());
    smoke.arguments = ["--json", "--wait", "15", "--timeout", TIMEOUT].map(str::to_owned).into();

    let ended = smoke.run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    assert_eq!(ended.stderr, ["maxconf: GET /health/ready: the service did not answer in time; waiting up to 15 s"]);
}

/// Like a suspended process, or a machine without free memory.
#[tokio::test]
async fn a_server_that_accepts_connections_but_reads_nothing_is_at_fault() {
    let app = healthy_service().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));

    let ended = Smoke::of(&app).at(url.parse().expect("a URL")).with(&["--timeout", TIMEOUT]).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(detail(&ended, "version"), "GET /health/live: the service did not answer in time");
}

#[tokio::test]
async fn a_hanging_entra_is_not_a_fault_of_the_service() {
    let app = healthy_service().await;
    app.entra.traffic().inject(Matching::any().path_contains("/token"), Times::Always, Fault::Stall);

    let ended = Smoke::of(&app).with(&["--timeout", TIMEOUT]).run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(outcomes(&ended)["entra_token"], "unclear", "{ended:#?}");
}

/// Each answer is in time, but all together are too slow: five slow ones, then a slower one that
/// waits for a fresh readiness.
#[tokio::test]
async fn a_test_of_a_slow_service_is_cut_off_and_its_rooms_are_deleted() {
    let app = healthy_service().await;
    let proxy = Proxy::tampering(&app, |request, answer| {
        if request.method == Method::POST && request.has("authorization") && answer.status != 200 {
            answer.delivery = Delivery::After(Duration::from_secs(5));
        } else if request.is(&Method::GET, "/public/room/vbv-") {
            answer.delivery = Delivery::After(Duration::from_secs(6));
            answer.status = StatusCode::GATEWAY_TIMEOUT;
            answer.set_member("code", "deadline_exceeded");
        }
    })
    .await;

    let ended = Smoke::of(&app).at(proxy.url()).with(&["--timeout", TIMEOUT]).run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(checks_with(&ended, "unclear"), ["public_read"], "{ended:#?}");
    let text = "cut off: this check and those before it took longer than 33 s";
    assert_eq!(detail(&ended, "public_read"), text, "{ended:#?}");
    assert_eq!(outcomes(&ended)["delete"], "not_checked", "{ended:#?}");
    assert_eq!(handed_out(&app), Vec::<String>::new());
}
