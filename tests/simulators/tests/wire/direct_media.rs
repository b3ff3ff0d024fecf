//! Direct media: what a Conferencing Node passes on between two web clients.

use maxconf_simulators::pexip::ConferencingNode;
use maxconf_simulators::{PexipSimulator, StoredRoom};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{LIMIT, client};

const HOST: &str = "193604";
const GUEST: &str = "852117";

/// A participant's web client.
struct Web {
    client: Client,
    /// Of the conference, with the node's address.
    base: String,
    token: String,
    id: String,
    stream: Response,
    received: String,
}

impl Web {
    async fn join(node: &ConferencingNode, pin: &str) -> Self {
        let (client, base) = (client(), format!("{}api/client/v2/conferences/vbv-1", node.server().url()));
        let request = client.post(format!("{base}/request_token")).header("pin", pin);
        let joined = request.json(&json!({"display_name": "Bob", "direct_media": true})).send().await;
        let joined: Value = joined.expect("an answer").json().await.expect("JSON");
        let result = &joined["result"];
        assert_eq!(result["direct_media"], true, "{joined}");
        let text = |name: &str| result[name].as_str().expect("text").to_owned();
        let (token, id) = (text("token"), text("participant_uuid"));
        let stream = client.get(format!("{base}/events?token={token}")).send().await.expect("a stream");
        Self { client, base, token, id, stream, received: String::new() }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/{path}", self.base)).header("token", &self.token);
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json::<Value>().await.expect("JSON")["result"].clone()
    }

    /// Offers media.
    async fn call(&self, sdp: &str) -> Value {
        let path = format!("participants/{}/calls", self.id);
        self.post(&path, json!({"call_type": "WEBRTC", "sdp": sdp})).await
    }

    async fn in_call(&self, call: &Value, path: &str, body: Value) -> Value {
        let call = call["call_uuid"].as_str().expect("an id");
        self.post(&format!("participants/{}/calls/{call}/{path}", self.id), body).await
    }

    /// Data of the next event with this name.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            while let Some((event, rest)) = self.received.split_once("\n\n") {
                let data = event.strip_prefix(&format!("event: {name}\ndata: "));
                let data = data.map(|data| serde_json::from_str(data).expect("JSON"));
                self.received = String::from(rest);
                if let Some(data) = data {
                    return data;
                }
            }
            let chunk = timeout(LIMIT, self.stream.chunk()).await.expect("an event in time").expect("a stream");
            let chunk = chunk.unwrap_or_else(|| panic!("the stream has ended without {name}"));
            self.received.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// What is left of the events, to their end.
    async fn rest_of_stream(&mut self) -> String {
        while let Some(chunk) = timeout(LIMIT, self.stream.chunk()).await.expect("an end in time").expect("a stream") {
            self.received.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        std::mem::take(&mut self.received)
    }
}

async fn room_with_direct_media() -> (PexipSimulator, ConferencingNode) {
    let pexip = PexipSimulator::start().await;
    pexip.use_direct_media(true);
    let mut room = StoredRoom::named("vbv-1").with_alias("vbv-1").with_pins(HOST, GUEST);
    room.allow_guests = true;
    pexip.insert(room);
    let node = pexip.conferencing_node("10.47.2.21").await;
    (pexip, node)
}

#[tokio::test]
async fn offers_answers_and_candidates_reach_the_other_side() {
    let (_pexip, node) = room_with_direct_media().await;
    let (mut citizen, agent) = (Web::join(&node, GUEST).await, Web::join(&node, HOST).await);

    let waiting = citizen.call("offer to nobody").await;
    assert_eq!((&waiting["sdp"], &waiting["offer_ignored"]), (&json!(""), &json!(true)));
    let (call, ()) = tokio::join!(agent.call("offer"), async {
        assert_eq!(citizen.event("new_offer").await["sdp"], "offer");
        // It has not dropped its own offer yet.
        citizen.in_call(&waiting, "ack", json!({"sdp": "offer_ignored", "offer_ignored": true})).await;
        assert_eq!(citizen.event("new_offer").await["sdp"], "offer");
        citizen.in_call(&waiting, "ack", json!({"sdp": "answer"})).await;
    });
    assert_eq!((&call["sdp"], &call["offer_ignored"]), (&json!("answer"), &json!(false)));

    let candidate = json!({"candidate": "candidate:1", "mid": "0", "ufrag": "abcd"});
    assert_eq!(agent.in_call(&call, "new_candidate", candidate.clone()).await, Value::Null);
    assert_eq!(citizen.event("new_candidate").await, candidate);

    let (updated, ()) = tokio::join!(agent.in_call(&call, "update", json!({"sdp": "further offer"})), async {
        assert_eq!(citizen.event("update_sdp").await["sdp"], "further offer");
        citizen.in_call(&waiting, "ack", json!({"sdp": "further answer"})).await;
    });
    assert_eq!(updated["sdp"], "further answer");
}

#[tokio::test]
async fn whoever_is_left_by_its_peer_gets_the_next_one() {
    let (_pexip, node) = room_with_direct_media().await;
    let (mut citizen, agent) = (Web::join(&node, GUEST).await, Web::join(&node, HOST).await);
    let waiting = citizen.call("offer to nobody").await;
    let (_, ()) = tokio::join!(agent.call("offer"), async {
        citizen.event("new_offer").await;
        citizen.in_call(&waiting, "ack", json!({"sdp": "answer"})).await;
    });
    let mut helper = Web::join(&node, GUEST).await;
    let third = helper.call("offer of a third").await;
    assert_eq!(third["offer_ignored"], true, "two are in direct media");

    agent.post("release_token", json!({})).await;
    citizen.event("peer_disconnect").await;

    let (call, ()) = tokio::join!(citizen.call("offer again"), async {
        assert_eq!(helper.event("new_offer").await["sdp"], "offer again");
        helper.in_call(&third, "ack", json!({"sdp": "answer of a third"})).await;
    });
    assert_eq!(call["sdp"], "answer of a third");
}

#[tokio::test]
async fn two_guests_part_for_a_host() {
    let (_pexip, node) = room_with_direct_media().await;
    let (mut citizen, mut helper) = (Web::join(&node, GUEST).await, Web::join(&node, GUEST).await);
    let waiting = citizen.call("offer to nobody").await;
    let (_, ()) = tokio::join!(helper.call("offer"), async {
        citizen.event("new_offer").await;
        citizen.in_call(&waiting, "ack", json!({"sdp": "answer"})).await;
    });

    let mut agent = Web::join(&node, HOST).await;
    let waiting = agent.call("offer of the host").await;
    assert_eq!(waiting["offer_ignored"], true, "it waits for a guest");
    citizen.event("peer_disconnect").await;
    helper.event("peer_disconnect").await;

    let (call, ()) = tokio::join!(citizen.call("offer again"), async {
        assert_eq!(agent.event("new_offer").await["sdp"], "offer again");
        agent.in_call(&waiting, "ack", json!({"sdp": "answer of the host"})).await;
    });
    assert_eq!(call["sdp"], "answer of the host");
}

#[tokio::test]
async fn whoever_is_disconnected_with_its_peer_does_not_call_again() {
    let (pexip, node) = room_with_direct_media().await;
    let (mut citizen, mut agent) = (Web::join(&node, GUEST).await, Web::join(&node, HOST).await);
    let waiting = citizen.call("offer to nobody").await;
    let (_, ()) = tokio::join!(agent.call("offer"), async {
        citizen.event("new_offer").await;
        citizen.in_call(&waiting, "ack", json!({"sdp": "answer"})).await;
    });

    pexip.leave_all("vbv-1");

    for web in [&mut citizen, &mut agent] {
        let rest = web.rest_of_stream().await;
        assert!(rest.contains("event: disconnect") && !rest.contains("event: peer_disconnect"), "{rest}");
    }
    citizen.post("release_token", json!({})).await;
}

#[tokio::test]
async fn pages_of_any_site_may_join() {
    let (_pexip, node) = room_with_direct_media().await;
    let url = format!("{}api/client/v2/conferences/vbv-1/request_token", node.server().url());
    let preflight = client().request(reqwest::Method::OPTIONS, &url).header("origin", "https://www.example.org");
    let preflight = preflight.header("access-control-request-headers", "content-type,pin");
    let answer = preflight.header("access-control-request-method", "POST").send().await.expect("an answer");
    let allowed = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(allowed("access-control-allow-origin"), "https://www.example.org");
    assert_eq!(allowed("access-control-allow-headers"), "content-type,pin");

    let refused = client().post(&url).header("origin", "https://www.example.org").send().await.expect("an answer");
    assert_eq!(refused.headers()["access-control-allow-origin"], "https://www.example.org");
}
