use std::time::Duration;

use maxconf_simulators::pexip::ConferencingNode;
use maxconf_simulators::{InfinityApp, PexipSimulator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client;

const HOST: &str = "193604";
const GUEST: &str = "852117";

async fn join(app: &mut InfinityApp, node: &ConferencingNode, pin: Option<&str>) -> Value {
    app.join(&node.server().url(), "vbv-1@example.org", pin).await
}

async fn management(pexip: &PexipSimulator, method: Method, path: &str, body: &Value) -> String {
    let url = pexip.management_url().join("api/admin/").and_then(|api| api.join(path)).expect("a path");
    let request = client().request(method, url).basic_auth(pexip.username(), Some(pexip.password()));
    let answer = request.json(body).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().await.expect("a body")
}

/// Role, protocol and media of each participant, by the status API.
async fn present(pexip: &PexipSimulator) -> Vec<(String, String, bool)> {
    let path = "status/v1/participant/?conference=vbv-1";
    let list: Value = serde_json::from_str(&management(pexip, Method::GET, path, &Value::Null).await).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let participants = list["objects"].as_array().expect("objects").iter();
    participants.map(|it| (text(&it["role"]), text(&it["protocol"]), it["has_media"] == true)).collect()
}

#[tokio::test]
async fn pexips_own_client_joins_as_guest_and_as_host() {
    let (Some(mut citizen), Some(mut agent)) = (InfinityApp::start(), InfinityApp::start()) else {
        return;
    };
    let pexip = PexipSimulator::start().await;
    let node = pexip.conferencing_node("10.47.2.21").await;
    pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    pexip.set_replication_delay(Duration::from_secs(60));
    let room = json!({
        "name": "vbv-1", "allow_guests": true, "pin": HOST, "guest_pin": GUEST,
        "aliases": [{"alias": "vbv-1@example.org"}],
        "automatic_participants": ["/api/admin/configuration/v1/automatic_participant/7/"],
    });
    management(&pexip, Method::POST, "configuration/v1/conference/", &room).await;

    let too_early = join(&mut citizen, &node, Some(GUEST)).await;
    assert_eq!(too_early, json!({"status": 404, "result": "Neither conference nor gateway found"}));
    pexip.advance(Duration::from_secs(60));
    let without = join(&mut citizen, &node, None).await;
    assert_eq!((&without["status"], &without["result"]["guest_pin"]), (&json!(403), &json!("required")), "{without}");
    assert_eq!(join(&mut citizen, &node, Some("852118")).await, json!({"status": 403, "result": "Invalid PIN"}));
    let joined = join(&mut citizen, &node, Some(GUEST)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("GUEST")), "{joined}");
    assert!(citizen.call().await["result"]["call_uuid"].is_string());
    pexip.advance(Duration::from_secs(10));
    let leg = ("guest".to_owned(), "SIP".to_owned(), true);
    assert_eq!(present(&pexip).await, [("guest".to_owned(), "WebRTC".to_owned(), true), leg]);

    assert_eq!(citizen.watch().await, json!({"status": 200}));
    assert_eq!(citizen.event("conference_update").await["started"], false);
    let joined = join(&mut agent, &node, Some(HOST)).await;
    assert_eq!((&joined["status"], &joined["result"]["role"]), (&json!(200), &json!("HOST")), "{joined}");
    agent.call().await;
    assert_eq!(citizen.event("participant_create").await["uuid"], joined["result"]["participant_uuid"]);
    assert_eq!(citizen.event("conference_update").await["started"], true);
    assert_eq!(agent.participants().await["result"].as_array().map(Vec::len), Some(3));
    assert_eq!(agent.status().await["result"]["started"], true);

    pexip.advance(Duration::from_secs(100));
    assert_eq!(citizen.refresh().await["result"]["expires"], "120");
    assert_eq!(agent.refresh().await["result"]["role"], "HOST");
    pexip.advance(Duration::from_secs(100));
    assert_eq!(agent.leave().await, json!({"status": 200, "result": true}));
    assert_eq!(citizen.event("participant_delete").await, json!({"uuid": joined["result"]["participant_uuid"]}));
    assert_eq!(present(&pexip).await.len(), 2);
    assert_eq!(citizen.leave().await, json!({"status": 200, "result": true}));
    assert_eq!(present(&pexip).await, []);
    assert_eq!(citizen.refresh().await, json!({"status": 403, "result": "Invalid token"}));
}

#[tokio::test]
async fn pexips_own_client_receives_the_end_of_the_call() {
    let (Some(mut citizen), Some(mut agent)) = (InfinityApp::start(), InfinityApp::start()) else {
        return;
    };
    let pexip = PexipSimulator::start().await;
    let node = pexip.conferencing_node("10.47.2.21").await;
    let room = json!({"name": "vbv-1", "allow_guests": true, "pin": HOST, "aliases": [{"alias": "vbv-1@example.org"}]});
    management(&pexip, Method::POST, "configuration/v1/conference/", &room).await;

    assert_eq!(join(&mut citizen, &node, Some("none")).await["result"]["role"], "GUEST");
    assert_eq!(join(&mut agent, &node, Some(HOST)).await["result"]["role"], "HOST");
    citizen.watch().await;
    assert_eq!(agent.disconnect().await, json!({"status": 200, "result": true}));

    let reason = citizen.event("disconnect").await;
    assert_eq!(reason, json!({"reason": "Conference terminated by another participant"}));
    assert_eq!(citizen.event("participant_delete").await, Value::Null, "the stream has ended");
    assert!(!pexip.is_running("vbv-1"));
}
