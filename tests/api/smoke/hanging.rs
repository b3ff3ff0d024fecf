//! A service that takes a request and leaves its caller waiting: the test has an end, and says where it waited.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Method, StatusCode};

use super::proxy::{Asked, Delivery, Proxy, Told};
use super::{BROKEN, COULD_NOT_TELL, HEALTHY, Smoke, handed_out, healthy_service, outcomes, result, those};
use crate::support::Ended;

/// Seconds for one answer; and for the version, as everywhere here.
const TIMEOUT: &str = "2";

/// `--wait` and six times `--timeout`, as the help promises, and what it takes to start a process.
const BOUND: Duration = Duration::from_secs(1 + 6 * 2 + 2);

/// Tests that wait most of the time.
const AT_A_TIME: usize = 6;

/// Which calls hang, which check must say so and how it names the call.
type Hang = (fn(&Asked, &Told) -> bool, &'static str, &'static str);

const HANGS: [Hang; 9] = [
    (|asked, _| asked.path == "/health/live", "version", "GET /health/live"),
    (|asked, _| asked.path == "/health/ready", "ready", "GET /health/ready"),
    (
        |asked, told| asked.is(&Method::POST, "/room/create") && told.status == 401,
        "create_without_token",
        "POST /room/create",
    ),
    (|asked, _| asked.method == Method::OPTIONS, "foreign_origin", "OPTIONS /public/room/maxconf-smoke-nobodys-room"),
    (|asked, _| asked.method == Method::PUT, "wrong_method", "PUT /room/create"),
    (|asked, told| asked.method == Method::POST && told.status == 400, "uui_data_missing", "POST /room/create"),
    (|asked, told| asked.method == Method::POST && told.status == 200, "create", "POST /room/create"),
    (|asked, _| asked.is(&Method::GET, "/public/room/vbv-"), "public_read", "GET /public/room/vbv-"),
    (|asked, _| asked.is(&Method::DELETE, "/room/vbv-"), "delete", "DELETE /room/vbv-"),
];

async fn timed(smoke: &Smoke) -> Ended {
    let start = Instant::now();
    let ended = smoke.run().await;
    assert!(start.elapsed() < BOUND, "{:?}: {ended:#?}", start.elapsed());
    ended
}

fn detail(ended: &Ended, check: &str) -> String {
    let result = result(ended);
    let checks = result["checks"].as_array().expect("checks");
    let done = checks.iter().find(|done| done["name"] == check).expect("the check");
    done["detail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_service_hangs_the_test_ends_in_time_and_says_where() {
    let deliveries = [Delivery::Never, Delivery::Half, Delivery::Drip];
    // The calls that make and delete rooms hang in each way.
    let rows = HANGS.into_iter().enumerate().flat_map(|(number, hang)| {
        let all = matches!(hang.1, "create" | "delete");
        deliveries
            .into_iter()
            .enumerate()
            .filter(move |(at, _)| all || number % 3 == *at)
            .map(move |(_, how)| (hang, how))
    });
    stream::iter(rows).map(|(hang, how)| assert_noticed(hang, how)).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

async fn assert_noticed((hangs, check, call): Hang, how: Delivery) {
    let app = healthy_service().await;
    let proxy = Proxy::tampering(&app, move |asked, told| {
        if hangs(asked, told) {
            told.delivery = how;
            // What has an empty body is as long in coming as everything else.
            told.body.resize(told.body.len().max(2), b' ');
            if told.status == 204 {
                told.status = StatusCode::OK;
            }
        }
    })
    .await;

    let ended = timed(&Smoke::of(&app).at(proxy.url()).with(&["--timeout", TIMEOUT])).await;

    let what = format!("{check} {how:?}: {ended:#?}");
    assert_eq!(ended.code, Some(BROKEN), "{what}");
    assert_eq!(outcomes(&ended)[check], "ours", "{what}");
    let detail_of = |check| detail(&ended, check);
    let words = format!("the service did not answer in time, at {call}");
    assert!(detail_of(check).starts_with(&words), "{words}: {what}");
    match check {
        // The names are known to nobody.
        "create" => assert!(detail_of("clean_up").starts_with("a create had no answer"), "{what}"),
        // They were deleted, which nobody was told.
        "delete" => assert!(detail_of("clean_up").contains("is left behind"), "{what}"),
        _ => assert_eq!(handed_out(&app), Vec::<String>::new(), "{what}"),
    }
}

/// After a swap an instance may take its time once.
#[tokio::test]
async fn a_readiness_that_does_not_come_at_first_is_asked_again() {
    let app = healthy_service().await;
    let looks = AtomicUsize::new(0);
    let proxy = Proxy::tampering(&app, move |asked, told| {
        if asked.path == "/health/ready" && looks.fetch_add(1, Ordering::Relaxed) == 0 {
            told.delivery = Delivery::Never;
        }
    })
    .await;
    let mut smoke = Smoke::of(&app).at(proxy.url());
    smoke.arguments = ["--json", "--wait", "15", "--timeout", TIMEOUT].map(str::to_owned).into();

    let ended = timed(&smoke).await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    assert_eq!(ended.stderr, ["maxconf: the service did not answer in time, at GET /health/ready; waiting"]);
}

/// As a process that is stopped, or a machine whose memory is at its end.
#[tokio::test]
async fn an_address_that_takes_connections_and_no_more_is_at_fault() {
    let app = healthy_service().await;
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", deaf.local_addr().expect("an address"));

    let ended = timed(&Smoke::of(&app).at(url.parse().expect("a URL")).with(&["--timeout", TIMEOUT])).await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(detail(&ended, "version"), "the service did not answer in time, at GET /health/live");
}

#[tokio::test]
async fn an_entra_that_hangs_is_no_fault_of_the_service() {
    let app = healthy_service().await;
    app.entra.traffic().inject(Matching::any().path_contains("/token"), Times::Always, Fault::Stall);

    let ended = timed(&Smoke::of(&app).with(&["--timeout", TIMEOUT])).await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(outcomes(&ended)["entra_token"], "unclear", "{ended:#?}");
}

/// Each answer in time, and all of them together not: five slow ones, and one after which the readiness is waited for.
#[tokio::test]
async fn a_service_that_is_slow_throughout_is_cut_off_and_no_room_of_it_stays() {
    let app = healthy_service().await;
    let proxy = Proxy::tampering(&app, |asked, told| {
        if asked.method == Method::POST && asked.has("authorization") && told.status != 200 {
            told.delivery = Delivery::After(Duration::from_secs(1));
        } else if asked.is(&Method::GET, "/public/room/vbv-") {
            told.status = StatusCode::GATEWAY_TIMEOUT;
            told.set_member("code", "deadline_exceeded");
        }
    })
    .await;

    let ended = timed(&Smoke::of(&app).at(proxy.url()).with(&["--timeout", TIMEOUT])).await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(those(&ended, "unclear"), ["public_read"], "{ended:#?}");
    let words = "cut off: 9 s were over, for this check and those before it";
    assert_eq!(detail(&ended, "public_read"), words, "{ended:#?}");
    assert_eq!(outcomes(&ended)["delete"], "not_checked", "{ended:#?}");
    assert_eq!(handed_out(&app), Vec::<String>::new());
}
