//! What no source proves of real nodes: each is off by default and can be on.

use maxconf_simulators::pexip::{ConferencingNode, Joined, PolicyOutcome, PolicyVariant, Refused};
use maxconf_simulators::{Fault, Matching, Times};
use serde_json::json;

use super::{GUEST, HOST, Policy, ROOM, action, room_with, success};
use crate::client;

#[tokio::test]
async fn an_empty_pin_voids_the_result_or_is_none() {
    let policy = Policy::start().await;
    policy.answers(success(&room_with(&json!({ "guest_pin": "" }))));
    assert_eq!(policy.nodes[0].join(ROOM, HOST).await, Err(Refused::NotFound));

    policy.pexip.set_policy_variant(PolicyVariant::EmptyPins, true);
    assert!(policy.nodes[0].join(ROOM, HOST).await.is_ok());
    assert!(policy.nodes[0].join(ROOM, "none").await.is_ok());
    policy.pexip.set_policy_variant(PolicyVariant::EmptyPins, false);
    assert_eq!(policy.nodes[0].join(ROOM, HOST).await, Err(Refused::NotFound));
}

#[tokio::test]
async fn the_account_is_sent_at_once_or_after_a_challenge() {
    let challenge = |value: &str| Fault::StatusWith {
        status: 401,
        headers: vec![("www-authenticate".to_owned(), value.to_owned())],
        body: String::new(),
    };
    let basic = challenge("Basic realm=\"policy\"");
    let policy = Policy::start().await;
    policy.traffic.inject(Matching::any(), Times::Once, basic.clone());
    assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound), "the account is refused");

    policy.pexip.set_policy_variant(PolicyVariant::BasicAfterChallenge, true);
    policy.traffic.clear();
    policy.traffic.inject(Matching::any(), Times::Once, basic);
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    let has_account = |at: usize| policy.traffic.log()[at].headers.contains_key("authorization");
    assert_eq!([has_account(0), has_account(1)], [false, true]);

    policy.traffic.inject(Matching::any(), Times::Once, challenge("Bearer"));
    assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound));
}

#[tokio::test]
async fn media_are_looked_up_or_not() {
    let policy = Policy::start().await;
    policy.pexip.set_policy_variant(PolicyVariant::Media, true);
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    let protocols: Vec<_> = policy.asked().into_iter().map(|asked| asked["protocol"].clone()).collect();
    assert_eq!(protocols, ["api", "api", "webrtc"]);

    policy.traffic.inject(Matching::any().query_contains("protocol=webrtc"), Times::Once, Fault::Status(503));
    assert_eq!(policy.nodes[0].join(ROOM, GUEST).await, Err(Refused::NotFound));
    assert_eq!(policy.status("participant/").await.len(), 1);
}

async fn refresh(node: &ConferencingNode, joined: &Joined) -> u16 {
    let url = node.server().url().join(&format!("api/client/v2/conferences/{ROOM}/refresh_token")).expect("a path");
    let request = client().post(url).header("token", &joined.token);
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_reconnect_is_looked_up_or_not() {
    for (asks, status) in [(false, 200), (true, 404)] {
        let policy = Policy::start().await;
        policy.pexip.set_policy_variant(PolicyVariant::Reconnects, asks);
        let joined = policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
        policy.answers(action("reject"));
        assert_eq!(refresh(&policy.nodes[0], &joined).await, status);
        assert_eq!(policy.pexip.is_running(ROOM), !asks);
    }
}

#[tokio::test]
async fn a_look_at_the_status_is_looked_up_or_not() {
    let policy = Policy::start().await;
    policy.nodes[0].join(ROOM, GUEST).await.expect("the room");
    policy.status("conference/").await;
    assert_eq!(policy.outcomes().len(), 2);

    policy.pexip.set_policy_variant(PolicyVariant::StatusViews, true);
    policy.status("conference/").await;
    let look_up = policy.pexip.policy_look_ups().pop().expect("a look-up");
    assert_eq!(
        (look_up.call_direction, look_up.alias.as_str(), look_up.outcome),
        ("non_dial", ROOM, PolicyOutcome::Success)
    );
}
