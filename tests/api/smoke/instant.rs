//! Deployments that make instant rooms: they are looked up as the Conferencing Nodes do.

use maxconf_simulators::operator::POLICY_ACCOUNT;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::proxy::{Delivery, ProxiedAnswer, ProxiedRequest, Proxy};
use super::{BROKEN, COULD_NOT_TELL, HEALTHY, POLICY_CHECKS, Smoke, USAGE, checks_with, outcomes, service};
use crate::support::{TestApp, TestAppBuilder};

const POLICY: &str = "/policy/v1/service/configuration";

fn with_policy() -> TestAppBuilder {
    service().set("PEXIP_POLICY_USERNAME", POLICY_ACCOUNT.0).set("PEXIP_POLICY_PASSWORD", POLICY_ACCOUNT.1)
}

/// A service whose rooms are all instant rooms.
pub(super) async fn instant_service() -> TestApp {
    with_policy().set("ROOM_SOURCE", "instant").start().await
}

/// A test that has the nodes' account.
pub(super) fn with_account(app: &TestApp) -> Smoke {
    Smoke::of(app).set("SMOKE_POLICY_USERNAME", POLICY_ACCOUNT.0).set("SMOKE_POLICY_PASSWORD", POLICY_ACCOUNT.1)
}

/// The answer to a node's look-up of each instant room that the service has made.
async fn decisions(app: &TestApp) -> Vec<Value> {
    let mut decisions = Vec::new();
    for record in app.blobs.blobs("room-records") {
        let Some(room) = record.name.strip_prefix("instant/") else { continue };
        let look_up = app.request(Method::GET, POLICY).basic_auth(POLICY_ACCOUNT.0, Some(POLICY_ACCOUNT.1));
        decisions.push(app.send(look_up.query(&[("local_alias", room)])).await.json());
    }
    decisions
}

#[tokio::test]
async fn a_service_of_instant_rooms_passes_every_check_and_every_room_is_ended() {
    for builder in [
        with_policy().set("ROOM_SOURCE", "instant"),
        with_policy().set("POOL_EMPTY", "instant").set("POOL_TARGET_SIZE", 0),
        with_policy().set("ROOM_SOURCE", "instant").set("CREATE_SHOWS_HOST_PIN", "false"),
    ] {
        let app = builder.start().await;

        let ended = with_account(&app).run().await;

        assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
        assert_eq!(checks_with(&ended, "not_checked"), ["pool", "room_properties"], "{ended:#?}");
        let outcomes = outcomes(&ended);
        assert!(POLICY_CHECKS.iter().all(|check| outcomes[*check] == "passed"), "{outcomes:#?}");
        let reject = json!({ "status": "success", "action": "reject" });
        assert_eq!(decisions(&app).await, [reject.clone(), reject], "two rooms, both ended");
        assert!(app.pexip.rooms().is_empty());
    }
}

#[tokio::test]
async fn without_the_nodes_account_no_look_up_is_made() {
    let app = instant_service().await;
    let proxy = Proxy::tampering(&app, |request, answer| {
        if request.path == POLICY {
            answer.status = StatusCode::IM_A_TEAPOT;
        }
    })
    .await;

    let ended = Smoke::of(&app).at(proxy.url()).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let not_checked = [&POLICY_CHECKS[..], &["pool", "room_properties"]].concat();
    assert_eq!(checks_with(&ended, "not_checked"), not_checked, "{ended:#?}");
}

#[tokio::test]
async fn a_service_with_a_pool_is_asked_for_a_foreign_alias_only() {
    let app = with_policy().start().await;
    app.warm_up().await;

    let ended = with_account(&app).with(&["--room-properties", "{}"]).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    assert_eq!(checks_with(&ended, "not_checked"), ["policy", "policy_of_deleted_room"], "{ended:#?}");
}

/// Whether this is the answer to a look-up with the account.
fn is_decision(request: &ProxiedRequest, answer: &ProxiedAnswer) -> bool {
    request.path == POLICY && answer.status == 200
}

/// Changes a member of the room in the answer to a look-up.
fn set_in_result(answer: &mut ProxiedAnswer, member: &str, value: impl Into<Value>) {
    let mut result = answer.json()["result"].clone();
    if result.is_object() {
        result[member] = value.into();
        answer.set_member("result", result);
    }
}

type Tamper = fn(&ProxiedRequest, &mut ProxiedAnswer);

/// A wrong answer, and exactly the checks that must report it.
const WRONG_ANSWERS: [(&str, Tamper, &[&str]); 11] = [
    (
        "another PIN than the create's",
        |request, answer| {
            if is_decision(request, answer) {
                set_in_result(answer, "guest_pin", "31415926535897932384");
            }
        },
        &["policy"],
    ),
    (
        "another tag than the create's",
        |request, answer| {
            if is_decision(request, answer) {
                set_in_result(answer, "service_tag", "https://id.gov.bc.ca/idcheck/another");
            }
        },
        &["policy"],
    ),
    (
        "an answer that differs from the one before",
        |request, answer| {
            if is_decision(request, answer) && request.query.contains("protocol=sip") {
                set_in_result(answer, "participant_limit", 6);
            }
        },
        &["policy"],
    ),
    (
        "an answer that comes too late for a node",
        |request, answer| {
            if is_decision(request, answer) && request.query.contains("protocol=sip") {
                answer.delivery = Delivery::Never;
            }
        },
        &["policy"],
    ),
    (
        "a deleted room is passed on",
        |request, answer| {
            if is_decision(request, answer) && answer.json()["action"] == "reject" {
                answer.set_member("action", "continue");
            }
        },
        &["policy_of_deleted_room"],
    ),
    (
        "a refusal with a room, which nodes use",
        |request, answer| {
            if is_decision(request, answer) && answer.json()["action"] == "reject" {
                answer.set_member("result", json!({ "name": "a room" }));
            }
        },
        &["policy_of_deleted_room"],
    ),
    (
        "a foreign alias is refused",
        |request, answer| {
            if is_decision(request, answer) && request.query.contains("nobodys-room") {
                answer.set_member("action", "reject");
            }
        },
        &["policy_of_foreign_alias"],
    ),
    (
        "the account is not checked",
        |request, answer| {
            if request.path == POLICY && answer.status == 401 {
                answer.status = StatusCode::OK;
                answer.body = json!({ "status": "success", "action": "continue" }).to_string().into();
            }
        },
        &["policy_without_account"],
    ),
    (
        "no challenge",
        |request, answer| {
            if request.path == POLICY {
                answer.headers.remove("www-authenticate");
            }
        },
        &["policy_without_account"],
    ),
    (
        "a room without the end of its validity",
        |_, answer| {
            answer.headers.remove("room-valid-until");
        },
        &["create"],
    ),
    (
        "an unknown Room-Source",
        |_, answer| {
            if answer.headers.contains_key("room-source") {
                answer.set("room-source", "elsewhere");
            }
        },
        &["create"],
    ),
];

#[tokio::test]
async fn each_wrong_answer_of_an_instant_service_is_reported_by_exactly_its_check() {
    for (what, tamper, expected) in WRONG_ANSWERS {
        let app = instant_service().await;
        let proxy = Proxy::tampering(&app, tamper).await;

        let ended = with_account(&app).at(proxy.url()).run().await;

        assert_eq!(ended.code, Some(BROKEN), "{what}: {ended:#?}");
        assert_eq!(checks_with(&ended, "ours"), expected, "{what}: {ended:#?}");
        assert!(checks_with(&ended, "unclear").is_empty(), "{what}: {ended:#?}");
    }
}

#[tokio::test]
async fn a_service_that_refuses_the_tests_account_yields_could_not_tell() {
    let app = instant_service().await;

    let ended = with_account(&app).set("SMOKE_POLICY_PASSWORD", "another password").run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    let expected = ["policy", "policy_of_deleted_room", "policy_of_foreign_alias"];
    assert_eq!(checks_with(&ended, "unclear"), expected, "{ended:#?}");
}

#[tokio::test]
async fn a_gateway_that_admits_only_the_nodes_yields_could_not_tell() {
    let app = instant_service().await;
    let gateway = Proxy::answering(&app, |request| (request.path == POLICY).then(|| ProxiedAnswer::bare(403))).await;

    let ended = with_account(&app).at(gateway.url()).with(&["--behind-gateway"]).run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(checks_with(&ended, "unclear"), POLICY_CHECKS, "{ended:#?}");
}

#[tokio::test]
async fn half_an_account_is_reported_before_any_request() {
    let app = instant_service().await;

    let ended = with_account(&app).without(&["SMOKE_POLICY_PASSWORD"]).run().await;

    assert_eq!(ended.code, Some(USAGE), "{ended:#?}");
    assert!(ended.stderr.join("\n").contains("SMOKE_POLICY_PASSWORD is missing"), "{ended:#?}");
    assert!(decisions(&app).await.is_empty());
}
