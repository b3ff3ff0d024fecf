//! Wrong answers of the service: a proxy changes single answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use maxconf::telemetry::VERSION;
use maxconf_simulators::entra::{APP_ID_URI, RESOURCE_MANAGER};
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;

use super::proxy::{ProxiedAnswer, ProxiedRequest, Proxy};
use super::{
    BROKEN, COULD_NOT_TELL, HEALTHY, POLICY_CHECKS, Smoke, TAG_URL, checks_with, handed_out, healthy_service, outcomes,
    result, service,
};
use crate::support::TestApp;

/// Whether this is a successful create.
fn is_create(request: &ProxiedRequest, answer: &ProxiedAnswer) -> bool {
    request.is(&Method::POST, "/room/create") && answer.status == 200
}

/// A wrong answer, and exactly the checks that must report it.
type WrongAnswer = (&'static str, fn(&ProxiedRequest, &mut ProxiedAnswer), &'static [&'static str]);

fn wrong_rooms() -> Vec<WrongAnswer> {
    vec![
        (
            "another citizen's tag",
            |request, answer| {
                if is_create(request, answer) {
                    answer.set_member("tag", format!("{TAG_URL}MTIzNDU2LDc2NTQzMg"));
                }
            },
            // The rooms are not deleted: they may be that citizen's.
            &["tag", "public_read", "create_another", "clean_up"],
        ),
        (
            "a tag with another start",
            |request, answer| {
                if is_create(request, answer) {
                    let tag = answer.json()["tag"].as_str().expect("a tag").replace("idcheck", "check");
                    answer.set_member("tag", tag);
                }
            },
            &["tag", "public_read", "create_another"],
        ),
        (
            "an invalid name",
            |request, answer| {
                if is_create(request, answer) {
                    answer.set_member("name", "boardroom");
                }
            },
            &["create"],
        ),
        (
            "a missing PIN",
            |request, answer| {
                if is_create(request, answer) {
                    answer.set_member("guest_pin", "");
                }
            },
            &["create"],
        ),
        (
            "no Room-Source",
            |request, answer| {
                if is_create(request, answer) {
                    answer.headers.remove("room-source");
                }
            },
            &["create"],
        ),
        (
            "another room in the public read",
            |request, answer| {
                if request.is(&Method::GET, "/public/room/vbv-") && answer.status == 200 {
                    answer.set_member("pin", "000000");
                }
            },
            &["public_read"],
        ),
    ]
}

/// Whether the answer repeats an earlier one by its key.
fn is_replay(answer: &ProxiedAnswer) -> bool {
    answer.headers.contains_key("idempotency-replayed")
}

fn wrong_replays() -> Vec<WrongAnswer> {
    vec![
        (
            "a replay that looks like a create",
            |_, answer| {
                answer.headers.remove("idempotency-replayed");
            },
            &["key_repeated"],
        ),
        (
            "a replay with another PIN",
            |_, answer| {
                if is_replay(answer) {
                    answer.set_member("guest_pin", "000000");
                }
            },
            &["key_repeated"],
        ),
        (
            "a replay of another room",
            |_, answer| {
                if is_replay(answer) {
                    answer.set_member("name", "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq");
                }
            },
            &["key_repeated"],
        ),
        (
            "400 to a reused key",
            |_, answer| {
                if answer.status == 422 {
                    answer.status = reqwest::StatusCode::BAD_REQUEST;
                }
            },
            &["key_reused"],
        ),
        (
            "another problem of a reused key",
            |_, answer| {
                if answer.status == 422 {
                    answer.set_member("code", "uui_data_invalid");
                }
            },
            &["key_reused"],
        ),
        (
            "404 to the key of a deleted room",
            |_, answer| {
                if answer.status == 410 {
                    answer.status = reqwest::StatusCode::NOT_FOUND;
                    answer.set_member("code", "room_not_found");
                }
            },
            &["key_of_deleted_room"],
        ),
    ]
}

fn wrong_headers_and_problems() -> Vec<WrongAnswer> {
    vec![
        (
            "no version on some answers",
            |request, answer| {
                if request.is(&Method::DELETE, "/room/vbv-") {
                    answer.headers.remove("maxconf-version");
                }
            },
            &["answer_headers"],
        ),
        (
            "an old instance among the new ones",
            |request, answer| {
                if request.is(&Method::POST, "/room/create") {
                    answer.set("maxconf-version", "0.0.9");
                }
            },
            &["answer_headers"],
        ),
        (
            "answers without cache-control",
            |_, answer| {
                answer.headers.remove("cache-control");
            },
            &["answer_headers"],
        ),
        ("another request id", |_, answer| answer.set("x-request-id", "another"), &["answer_headers"]),
        (
            "CORS headers for every origin",
            |request, answer| {
                if request.has("origin") {
                    answer.set("access-control-allow-origin", "*");
                }
            },
            &["foreign_origin", "allowed_origin"],
        ),
        (
            "errors without CORS headers",
            |request, answer| {
                if request.method == Method::GET {
                    answer.headers.remove("access-control-allow-origin");
                }
            },
            &["allowed_origin"],
        ),
        (
            "a missing challenge",
            |_, answer| {
                answer.headers.remove("www-authenticate");
            },
            &[
                "create_with_altered_token",
                "create_with_foreign_audience",
                "create_without_token",
                "delete_without_token",
                "public_with_unknown_token",
                "public_without_token",
            ],
        ),
        (
            "500 to uuiData that is too long",
            |_, answer| {
                if answer.status == 400 && answer.json()["code"] == "uui_data_too_long" {
                    answer.status = reqwest::StatusCode::INTERNAL_SERVER_ERROR;
                    answer.set_member("code", "internal");
                }
            },
            &["uui_data_too_long"],
        ),
        (
            "a room for uuiData that is too long",
            |_, answer| {
                if answer.status == 400 && answer.json()["code"] == "uui_data_too_long" {
                    answer.status = reqwest::StatusCode::OK;
                    answer.body =
                        json!({ "name": "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "tag": TAG_URL }).to_string().into();
                }
            },
            // The room is reported, but not deleted.
            &["clean_up", "uui_data_too_long"],
        ),
        (
            "a delete that fails",
            |request, answer| {
                if request.is(&Method::DELETE, "/room/vbv-") {
                    answer.status = reqwest::StatusCode::INTERNAL_SERVER_ERROR;
                    answer.body = json!({ "code": "internal" }).to_string().into();
                }
            },
            &["clean_up", "delete"],
        ),
    ]
}

#[tokio::test]
async fn each_wrong_answer_is_reported_by_exactly_its_checks() {
    for (what, tamper, expected) in [wrong_rooms(), wrong_replays(), wrong_headers_and_problems()].concat() {
        let app = healthy_service().await;
        let proxy = Proxy::tampering(&app, tamper).await;

        let ended = Smoke::of(&app).at(proxy.url()).with(&["--tag-url", TAG_URL]).run().await;

        assert_eq!(ended.code, Some(BROKEN), "{what}: {ended:#?}");
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(checks_with(&ended, "ours"), expected, "{what}: {ended:#?}");
        assert!(!outcomes(&ended).values().any(|outcome| outcome == "unclear"), "{what}: {ended:#?}");
    }
}

#[tokio::test]
async fn a_service_that_knows_no_keys_is_reported_and_its_rooms_are_deleted() {
    let app = healthy_service().await;
    let proxy = Proxy::dropping(&app, "idempotency-key").await;

    let ended = Smoke::of(&app).at(proxy.url()).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(checks_with(&ended, "ours"), ["key_of_deleted_room", "key_repeated", "key_reused"], "{ended:#?}");
    let checks = result(&ended)["checks"].as_array().expect("checks").clone();
    let repeated = checks.iter().find(|check| check["name"] == "key_repeated").expect("the check");
    let text = "it returned another room: the service knows no keys, or has forgotten this one";
    assert_eq!(repeated["detail"], text, "{ended:#?}");
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

/// The report repeats codes, versions and errors, which may hold anything.
#[tokio::test]
async fn answers_that_repeat_the_request_reveal_no_secret() {
    let app = healthy_service().await;
    for repeated in ["authorization", "x-auth-token", "uuiData"] {
        let proxy = Proxy::tampering(&app, move |request, answer| {
            let header = request.headers.get(repeated).and_then(|value| value.to_str().ok());
            let said = header.or(request.query.strip_prefix("uuiData=").filter(|_| repeated == "uuiData"));
            if let Some(said) = said {
                answer.set("maxconf-version", said.trim_start_matches("Bearer "));
                answer.set("room-source", said);
                for member in ["code", "name", "tag", "pin", "title"] {
                    answer.set_member(member, said);
                }
            }
        })
        .await;

        for smoke in [Smoke::of(&app).at(proxy.url()), Smoke::of(&app).at(proxy.url()).readable()] {
            assert_eq!(smoke.run().await.code, Some(BROKEN), "{repeated}");
        }
    }
    app.entra.traffic().inject(Matching::any().path_contains("/token"), Times::Always, Fault::Echo(400));
    assert_eq!(Smoke::of(&app).run().await.code, Some(COULD_NOT_TELL));
}

#[tokio::test]
async fn rooms_are_deleted_whatever_else_is_wrong() {
    let failures = AtomicUsize::new(0);
    let app = healthy_service().await;
    let proxy = Proxy::answering(&app, move |request| {
        // The first delete fails.
        let fails = request.is(&Method::DELETE, "/room/vbv-") && failures.fetch_add(1, Ordering::Relaxed) == 0;
        fails.then(|| ProxiedAnswer::bare(500))
    })
    .await;

    let ended = Smoke::of(&app).at(proxy.url()).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(outcomes(&ended)["clean_up"], "passed", "{ended:#?}");
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

/// If the service wrongly answers with a citizen's room, deleting it would end that citizen's call.
#[tokio::test]
async fn a_room_that_may_be_a_citizens_is_not_deleted() {
    const CITIZENS: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
    for shown_tag in ["own", "the citizen's"] {
        let app = healthy_service().await;
        app.pexip.insert(StoredRoom::named(CITIZENS).tagged("https://id.gov.bc.ca/idcheck/citizen"));
        let proxy = Proxy::tampering(&app, move |request, answer| {
            if is_create(request, answer) {
                answer.set_member("name", CITIZENS);
                answer.set_member("aliases", json!([{ "alias": CITIZENS }]));
                if shown_tag == "the citizen's" {
                    answer.set_member("tag", "https://id.gov.bc.ca/idcheck/citizen");
                }
            }
        })
        .await;

        let ended = Smoke::of(&app).at(proxy.url()).run().await;

        assert_eq!(ended.code, Some(BROKEN), "{shown_tag}: {ended:#?}");
        assert!(app.pexip.room(CITIZENS).is_some(), "{shown_tag}: {ended:#?}");
        assert_eq!(outcomes(&ended)["clean_up"], "ours", "{shown_tag}: {ended:#?}");
    }
}

#[tokio::test]
async fn one_room_for_two_creates_is_reported() {
    let app = healthy_service().await;
    let first: Arc<Mutex<Option<ProxiedAnswer>>> = Arc::default();
    let proxy = Proxy::tampering(&app, move |request, answer| {
        if is_create(request, answer) {
            let mut first = first.lock().expect("no panic while locked");
            let first = first.get_or_insert_with(|| answer.clone());
            let id = answer.headers["x-request-id"].clone();
            *answer = first.clone();
            answer.headers.insert("x-request-id", id);
        }
    })
    .await;

    let ended = Smoke::of(&app).at(proxy.url()).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert!(checks_with(&ended, "ours").contains(&"create_another".to_owned()), "{ended:#?}");
}

#[tokio::test]
async fn an_accepted_token_for_another_api_is_reported() {
    let app = service().set("ENTRA_AUDIENCE", format!("{APP_ID_URI},{RESOURCE_MANAGER}")).start().await;
    app.entra.issue_version(maxconf_simulators::entra::Version::V1);

    let ended = Smoke::of(&app).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(checks_with(&ended, "ours"), ["create_with_foreign_audience"]);
    assert_eq!(
        handed_out(&app),
        Vec::<String>::new(),
        "a room of a create that should have been refused is deleted too"
    );
}

#[tokio::test]
async fn a_missing_pool_is_a_fault_if_it_is_expected() {
    let app = service().set("POOL_TARGET_SIZE", 0).start().await;

    let ended = Smoke::of(&app).with(&["--expect-pool"]).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(checks_with(&ended, "ours"), ["pool"]);
}

#[tokio::test]
async fn another_version_is_a_fault() {
    let app = healthy_service().await;
    let mut smoke = Smoke::of(&app);
    smoke.arguments = ["--json", "--wait", "1", "--expect-version", "999.0.0"].map(str::to_owned).into();

    let ended = smoke.run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(checks_with(&ended, "ours"), ["version"]);
    assert_eq!(checks_with(&ended, "passed"), Vec::<String>::new());
    assert_eq!(result(&ended)["checks"][0]["detail"], format!("version {VERSION} answers instead of 999.0.0"));
}

#[tokio::test]
async fn the_test_waits_for_the_expected_version_and_reports_the_wait_once() {
    let app = healthy_service().await;
    let probes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&probes);
    let proxy = Proxy::tampering(&app, move |request, answer| {
        // During a swap both versions answer.
        if request.path == "/health/live" && matches!(seen.fetch_add(1, Ordering::Relaxed), 0 | 2) {
            answer.set("maxconf-version", "0.0.9");
        }
    })
    .await;
    let mut smoke = Smoke::of(&app).at(proxy.url());
    smoke.arguments = ["--json", "--wait", "15", "--expect-version", VERSION].map(str::to_owned).into();

    let ended = smoke.run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let wait = format!("maxconf: version 0.0.9 answers instead of {VERSION}; waiting up to 15 s");
    assert_eq!(ended.stderr, [wait], "one line, however long the wait");
    assert_eq!(probes.load(Ordering::Relaxed), 6, "three in a row, after the old version's second answer");
}

#[tokio::test]
async fn a_dead_service_behind_its_host_is_a_fault() {
    let app = healthy_service().await;
    for status in [500, 502, 503] {
        let host = Proxy::answering(&app, move |_| Some(ProxiedAnswer::bare(status))).await;

        let ended = Smoke::of(&app).at(host.url()).run().await;

        assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
        assert_eq!(checks_with(&ended, "ours"), ["version"]);
    }
}

/// The host of a dead service still answers, so this may be the network, or the address.
#[tokio::test]
async fn an_unreachable_service_yields_could_not_tell() {
    let app = healthy_service().await;

    let ended = Smoke::of(&app).at("http://127.0.0.1:1/".parse().expect("a URL")).run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(checks_with(&ended, "unclear"), ["version"]);
}

/// As API Management: publishes no health routes, and refuses requests without a token itself.
async fn gateway(app: &TestApp) -> Proxy {
    Proxy::answering(app, |request| {
        if request.path.starts_with("/health/") || request.method == Method::PUT {
            return Some(ProxiedAnswer::bare(404));
        }
        let is_idims = request.path.starts_with("/room/");
        (is_idims && !request.has("authorization")).then(|| ProxiedAnswer::bare(401))
    })
    .await
}

#[tokio::test]
async fn a_gateway_may_refuse_instead_of_the_service_with_behind_gateway() {
    let app = healthy_service().await;
    let gateway = gateway(&app).await;

    let without_option = Smoke::of(&app).at(gateway.url()).run().await;
    let with_option = Smoke::of(&app).at(gateway.url()).with(&["--behind-gateway"]).run().await;

    assert_eq!(without_option.code, Some(BROKEN), "{without_option:#?}");
    assert_eq!(with_option.code, Some(HEALTHY), "{with_option:#?}");
    let expected = [&POLICY_CHECKS[..], &["ready", "room_properties"]].concat();
    assert_eq!(checks_with(&with_option, "not_checked"), expected);
}
