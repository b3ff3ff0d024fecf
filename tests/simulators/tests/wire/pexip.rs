use maxconf_simulators::pexip::Role;
use maxconf_simulators::{PexipSimulator, StoredRoom};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::client;

const ROOMS: &str = "api/admin/configuration/v1/conference/";

struct Node {
    pexip: PexipSimulator,
    client: Client,
}

impl Node {
    async fn start() -> Self {
        Self { pexip: PexipSimulator::start().await, client: client() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.pexip.management_url().join(path).expect("a path");
        self.client.request(method, url).basic_auth(self.pexip.username(), Some(self.pexip.password()))
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    async fn create(&self, room: &Value) -> Response {
        self.request(Method::POST, ROOMS).json(room).send().await.expect("an answer")
    }

    async fn refusal(&self, room: &Value) -> Value {
        let answer = self.create(room).await;
        assert_eq!(answer.status(), 400, "{room}");
        answer.json().await.expect("JSON")
    }
}

#[tokio::test]
async fn a_room_is_created_read_tagged_and_deleted() {
    let node = Node::start().await;
    node.pexip.add_automatic_participant(7, "sip:queue@sbc.example");
    let room = json!({
        "name": "vbv-1", "allow_guests": true, "pin": "193604", "guest_pin": "852117", "unknown": 1,
        "aliases": [{"alias": "vbv-1"}], "primary_owner_email_address": "a@example.org",
        "automatic_participants": ["/api/admin/configuration/v1/automatic_participant/7/"],
    });

    let created = node.create(&room).await;
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["location"], "/api/admin/configuration/v1/conference/1/");
    assert_eq!(created.text().await.expect("a body"), "");

    let path = format!("{ROOMS}1/");
    let tagging = node.request(Method::PATCH, &path).json(&json!({"tag": "https://example.org/1"}));
    let patched = tagging.send().await.expect("an answer");
    assert_eq!(patched.status(), 202);
    let read = node.get(&path).await;
    assert_eq!(read["tag"], "https://example.org/1");
    assert_eq!(read["aliases"][0]["conference"], "/api/admin/configuration/v1/conference/1/");
    assert_eq!(read["automatic_participants"][0]["alias"], "sip:queue@sbc.example");
    assert_eq!(read["primary_owner_email_address"], "a@example.org");
    assert_eq!(read["creation_time"].as_str().map(str::len), Some("2017-05-11T22:02:05.855877".len()));
    assert_eq!(read.get("unknown"), None);
    assert_eq!(node.pexip.tag_history("vbv-1"), ["https://example.org/1"]);

    let delete = || async { node.request(Method::DELETE, &path).send().await.expect("an answer").status() };
    assert_eq!(delete().await, 204);
    assert_eq!(delete().await, 404);
    assert_eq!(node.pexip.room("vbv-1"), None);
}

#[tokio::test]
async fn pins_are_checked() {
    let node = Node::start().await;
    let refused = [
        json!({"name": "r", "pin": "1936"}),
        json!({"name": "r", "pin": "19360a"}),
        json!({"name": "r", "pin": "123456789012345678901"}),
        json!({"name": "r", "allow_guests": true}),
        json!({"name": "r", "pin": "193604", "guest_pin": "852117"}),
        json!({"name": "r", "pin": "193604", "guest_pin": "193604", "allow_guests": true}),
        json!({"name": "r", "pin": "193604", "guest_pin": "8521177", "allow_guests": true}),
        json!({"name": "r", "pin": "193604#", "guest_pin": "8521177", "allow_guests": true}),
    ];
    for room in &refused {
        assert!(node.refusal(room).await["conference"].is_object(), "{room}");
    }
    assert_eq!(node.pexip.rooms(), []);

    let pins = json!({"name": "r", "pin": "193604#", "guest_pin": "8521177#", "allow_guests": true});
    assert_eq!(node.create(&pins).await.status(), 201);
    node.pexip.set_min_pin_length(4);
    assert_eq!(node.create(&json!({"name": "s", "pin": "1936"})).await.status(), 201);
    let global = node.get("api/admin/configuration/v1/global/").await;
    assert_eq!(global["objects"][0]["min_pin_length"], 4);
}

#[tokio::test]
async fn names_aliases_and_lengths_are_checked() {
    let node = Node::start().await;
    node.pexip.insert(StoredRoom::named("taken").with_alias("dialled"));

    let taken = node.refusal(&json!({"name": "taken"})).await;
    assert_eq!(taken, json!({"conference": {"name": ["Virtual Meeting Room with this Name already exists."]}}));
    let alias = node.refusal(&json!({"name": "new", "aliases": [{"alias": "dialled"}]})).await;
    assert!(alias["conference"]["aliases"][0].as_str().is_some_and(|text| text.contains("already exists")));
    let long = node.refusal(&json!({"name": "new", "tag": "t".repeat(251)})).await;
    assert!(long["conference"]["tag"].is_array());
    assert!(node.refusal(&json!({})).await["conference"]["name"].is_array());
    let participant =
        json!({"name": "new", "automatic_participants": ["/api/admin/configuration/v1/automatic_participant/9/"]});
    assert!(node.refusal(&participant).await["error"].is_string());
}

#[tokio::test]
async fn lists_are_paged_filtered_and_ordered() {
    let node = Node::start().await;
    for number in 0..45 {
        let tag = if number < 5 { "used" } else { "" };
        node.pexip.insert(StoredRoom::named(format!("vbv-{number:02}")).tagged(tag).described("ready-until=x"));
    }
    node.pexip.insert(StoredRoom::named("other"));

    let mut next = format!("/{ROOMS}?name__startswith=vbv-&order_by=-name");
    let mut names = Vec::new();
    let mut pages = 0;
    loop {
        let page = node.get(&next).await;
        assert_eq!(page["meta"]["total_count"], 45);
        assert_eq!(page["meta"]["limit"], 20);
        let objects = page["objects"].as_array().expect("objects");
        names.extend(objects.iter().map(|room| room["name"].as_str().expect("a name").to_owned()));
        pages += 1;
        match page["meta"]["next"].as_str() {
            Some(address) => address.clone_into(&mut next),
            None => break,
        }
    }
    assert_eq!((pages, names.len()), (3, 45));
    assert_eq!((names[0].as_str(), names[44].as_str()), ("vbv-44", "vbv-00"));

    let total = |query: &'static str| {
        let node = &node;
        async move { node.get(&format!("{ROOMS}?{query}")).await["meta"]["total_count"].clone() }
    };
    assert_eq!(total("name__in=vbv-01,vbv-02,absent").await, 2);
    assert_eq!(total("tag=&name__startswith=vbv-").await, 40);
    assert_eq!(total("description__contains=until").await, 45);
    assert_eq!(total("allow_guests=False").await, 46);
    let by_id = node.get(&format!("{ROOMS}?id=1")).await;
    assert_eq!(by_id["error"], "The 'id' field does not allow filtering.");
}

#[tokio::test]
async fn participants_are_in_the_status_until_they_are_disconnected() {
    let node = Node::start().await;
    node.pexip.insert(StoredRoom::named("vbv-1").tagged("t"));
    let participants = "api/admin/status/v1/participant/?conference=vbv-1";

    node.pexip.wait_for_pin("vbv-1");
    assert_eq!(node.get("api/admin/status/v1/conference/").await["meta"]["total_count"], 0);
    assert_eq!(node.get(participants).await["objects"][0]["service_type"], "ivr");
    node.pexip.join("vbv-1", Role::Chair);
    node.pexip.dial_out_leg("vbv-1");
    let running = node.get("api/admin/status/v1/conference/?name=vbv-1").await;
    assert_eq!(running["objects"][0]["tag"], "t");
    assert_eq!(node.get(participants).await["objects"][2]["call_direction"], "out");

    let disconnect = |id: Value| {
        let request = node.request(Method::POST, "api/admin/command/v1/conference/disconnect/");
        async move { request.json(&json!({"conference_id": id})).send().await.expect("an answer") }
    };
    let id = running["objects"][0]["id"].clone();
    assert_eq!(disconnect(id.clone()).await.status(), 202);
    assert!(!node.pexip.is_running("vbv-1"));
    let again = disconnect(id).await;
    assert_eq!(again.status(), 400);
    let body: Value = again.json().await.expect("JSON");
    assert_eq!(body["conference"]["conference_id"][0], "Failed to find conference.");
}

#[tokio::test]
async fn a_delete_of_the_collection_deletes_all_rooms_and_other_accounts_are_refused() {
    let node = Node::start().await;
    node.pexip.insert(StoredRoom::named("vbv-1"));

    let slashless = node.request(Method::GET, ROOMS.trim_end_matches('/')).send().await.expect("an answer");
    assert_eq!(
        (slashless.status().as_u16(), slashless.headers()["location"].as_bytes()),
        (301, b"/api/admin/configuration/v1/conference/".as_slice())
    );
    let url = node.pexip.management_url().join(ROOMS).expect("a path");
    node.pexip.set_password("rotated");
    let old = node.client.delete(url).basic_auth("maxconf", Some("room-service-password"));
    let old = old.send().await.expect("an answer");
    assert_eq!(old.status(), 401);
    assert!(old.headers().contains_key("www-authenticate"));
    assert_eq!(node.pexip.rooms().len(), 1);

    let wiped = node.request(Method::DELETE, ROOMS).send().await.expect("an answer");
    assert_eq!(wiped.status(), 204);
    assert_eq!(node.pexip.rooms(), []);
}

#[tokio::test]
async fn a_restored_backup_brings_back_rooms_and_ids() {
    let node = Node::start().await;
    for name in ["a", "b", "c"] {
        node.pexip.insert(StoredRoom::named(name));
    }

    node.pexip.restore_backup(vec![StoredRoom::named("a").with_id(1), StoredRoom::named("c").with_id(3)], 2);
    let tagging = node.request(Method::PATCH, &format!("{ROOMS}3/")).json(&json!({"tag": "t"}));
    assert_eq!(tagging.send().await.expect("an answer").status(), 202);

    let created = node.create(&json!({"name": "d"})).await;
    assert_eq!(created.headers()["location"], "/api/admin/configuration/v1/conference/2/");
    let created = node.create(&json!({"name": "e"})).await;
    assert_eq!(created.headers()["location"], "/api/admin/configuration/v1/conference/4/");
}
