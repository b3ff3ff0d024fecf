//! The management node as it is documented: filters, closed lists, schemas, and the resources that administrators use.

use std::collections::BTreeSet;

use maxconf_simulators::pexip::InLookup;
use maxconf_simulators::{PexipSimulator, StoredRoom};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::client;

const ROOMS: &str = "configuration/v1/conference/";
const ALIASES: &str = "configuration/v1/conference_alias/";

struct Node {
    pexip: PexipSimulator,
    client: Client,
}

impl Node {
    async fn start() -> Self {
        Self { pexip: PexipSimulator::start().await, client: client() }
    }

    /// Status, `Location` and body; the body is null if it is no JSON.
    async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, String, Value) {
        let url = self.pexip.management_url().join("api/admin/").and_then(|api| api.join(path)).expect("a path");
        let request = self.client.request(method, url).json(body);
        let request = request.basic_auth(self.pexip.username(), Some(self.pexip.password()));
        let answer = request.send().await.expect("an answer");
        let location = answer.headers().get("location").map(|it| it.to_str().expect("text").to_owned());
        let status = answer.status().as_u16();
        (status, location.unwrap_or_default(), answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, _, body) = self.send(Method::GET, path, &json!({})).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn total(&self, query: &str) -> Value {
        self.get(&format!("{ROOMS}?{query}")).await["meta"]["total_count"].clone()
    }

    /// The error of a list of rooms with this query.
    async fn refused(&self, query: &str) -> String {
        let (status, _, body) = self.send(Method::GET, &format!("{ROOMS}?{query}"), &json!({})).await;
        assert_eq!(status, 400, "{query}: {body}");
        body["error"].as_str().expect("an error").to_owned()
    }

    /// Creates the room `r` with this field and deletes it if it was created. Status and body of the create.
    async fn create_with(&self, field: &str, value: &Value) -> (u16, Value) {
        let (status, location, body) = self.send(Method::POST, ROOMS, &json!({"name": "r", field: value})).await;
        if status == 201 {
            let (deleted, _, _) = self.send(Method::DELETE, &location, &json!({})).await;
            assert_eq!(deleted, 204);
        }
        (status, body)
    }
}

#[tokio::test]
async fn the_lookup_in_is_supported_refused_or_ignored() {
    let node = Node::start().await;
    for name in ["a", "b", "c"] {
        node.pexip.insert(StoredRoom::named(name));
    }

    assert_eq!(node.total("name__in=a,b").await, 2);
    node.pexip.set_in_lookup(InLookup::Refused);
    assert_eq!(node.refused("name__in=a,b").await, "'in' is not an allowed filter on the 'name' field.");
    node.pexip.set_in_lookup(InLookup::Ignored);
    assert_eq!(node.total("name__in=a,b").await, 3);
    assert_eq!(node.total("name__in=a,b&name=c").await, 1, "other filters hold");
    assert_eq!(node.total("name=a").await, 1);
    node.pexip.set_in_lookup(InLookup::Supported);
    assert_eq!(node.total("name__in=a,b").await, 2);
}

#[tokio::test]
async fn unknown_filters_are_refused_or_ignored() {
    let node = Node::start().await;
    for name in ["a", "b"] {
        node.pexip.insert(StoredRoom::named(name));
    }

    assert_eq!(node.refused("nam=a").await, "The 'nam' field does not allow filtering.");
    node.pexip.ignore_unknown_filters(true);
    assert_eq!(node.total("nam=a").await, 2);
    assert_eq!(node.total("nam__in=a&name=b").await, 1);
    assert_eq!(node.refused("id=1").await, "The 'id' field does not allow filtering.", "the field exists");
    assert_eq!(node.refused("name__nonsense=1").await, "'nonsense' is not an allowed filter on the 'name' field.");
}

#[tokio::test]
async fn closed_lists_bounds_and_types_of_fields_are_checked() {
    let node = Node::start().await;
    let theme = "/api/admin/configuration/v1/ivr_theme/1/";
    let accepted = [
        ("call_type", json!("audio")),
        ("crypto_mode", json!("on")),
        ("crypto_mode", json!("")),
        ("crypto_mode", Value::Null),
        ("host_view", json!("one_main_zero_pips")),
        ("guest_view", Value::Null),
        ("enable_chat", json!("no")),
        ("live_captions_enabled", json!("yes")),
        ("max_callrate_in", json!(8192)),
        ("max_callrate_out", Value::Null),
        ("max_pixels_per_second", json!("fullhd")),
        ("participant_limit", json!(0)),
        ("mute_all_guests", json!(true)),
        ("ivr_theme", json!(theme)),
        ("ivr_theme", Value::Null),
        ("direct_media_notification_duration", json!(30)),
    ];
    for (field, value) in accepted {
        assert_eq!(node.create_with(field, &value).await.0, 201, "{field} {value}");
    }

    let choice = |given: &str| format!("Select a valid choice. {given} is not one of the available choices.");
    let refused = [
        ("call_type", json!("holographic"), choice("holographic")),
        ("call_type", Value::Null, "This field cannot be null.".to_owned()),
        ("crypto_mode", json!("maybe"), choice("maybe")),
        ("host_view", json!("one_main_one_pip"), choice("one_main_one_pip")),
        ("guest_view", json!(7), choice("7")),
        ("guests_can_see_guests", json!("sometimes"), choice("sometimes")),
        ("direct_media", json!("ever"), choice("ever")),
        ("enable_chat", json!(true), choice("true")),
        ("non_idp_participants", json!("allow"), choice("allow")),
        ("service_type", json!("webinar"), choice("webinar")),
        ("max_pixels_per_second", json!("uhd"), choice("uhd")),
        ("two_stage_dial_type", json!("other"), choice("other")),
        ("mute_all_guests", json!("yes"), "This value must be either True or False.".to_owned()),
        ("max_callrate_in", json!(127), "Ensure this value is greater than or equal to 128.".to_owned()),
        ("max_callrate_out", json!(8193), "Ensure this value is less than or equal to 8192.".to_owned()),
        ("participant_limit", json!("many"), "Enter a whole number.".to_owned()),
        (
            "primary_owner_email_address",
            json!("a".repeat(101)),
            "Ensure this value has at most 100 characters (it has 101).".to_owned(),
        ),
    ];
    for (field, value, message) in refused {
        let (status, body) = node.create_with(field, &value).await;
        assert_eq!((status, body), (400, json!({"conference": {field: [message]}})), "{field} {value}");
    }
    let (status, body) = node.create_with("ivr_theme", &json!("/api/admin/configuration/v1/ivr_theme/2/")).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().is_some_and(|error| error.contains("ivr_theme/2/")), "{body}");
    assert_eq!(node.pexip.rooms(), []);
}

#[tokio::test]
async fn a_rooms_further_fields_read_back_and_a_put_resets_them() {
    let node = Node::start().await;
    let properties = json!({
        "name": "r", "call_type": "video-only", "crypto_mode": "on", "host_view": "five_mains_seven_pips",
        "guest_view": "four_mains_zero_pips", "max_callrate_in": 1024, "enable_overlay_text": true,
        "ivr_theme": "/api/admin/configuration/v1/ivr_theme/1/", "scheduled_conferences_count": 9,
    });
    let (_, location, _) = node.send(Method::POST, ROOMS, &properties).await;

    let read = node.get(&location).await;
    for (field, value) in properties.as_object().expect("an object") {
        let expected = if field == "scheduled_conferences_count" { &json!(0) } else { value };
        assert_eq!(&read[field], expected, "{field}");
    }
    assert_eq!(node.send(Method::PATCH, &location, &json!({"crypto_mode": null})).await.0, 202);
    assert_eq!(node.get(&location).await["crypto_mode"], "", "the global setting reads back as an empty text");
    assert_eq!(node.send(Method::PUT, &location, &json!({"name": "r"})).await.0, 204);
    let reset = node.get(&location).await;
    assert_eq!((&reset["call_type"], &reset["ivr_theme"]), (&json!("video"), &Value::Null));
    let (status, _, body) = node.send(Method::PATCH, &location, &json!({"call_type": "holographic"})).await;
    assert_eq!((status, body["conference"]["call_type"].is_array()), (400, true));
}

#[tokio::test]
async fn roots_list_the_resources_and_each_has_a_schema() {
    let node = Node::start().await;
    let mut listed = BTreeSet::new();
    for root in ["configuration/v1/", "status/v1/", "history/v1/", "command/v1/conference/", "command/v1/participant/"]
    {
        for (name, addresses) in node.get(root).await.as_object().expect("an object") {
            let address = |field: &str| addresses[field].as_str().expect("a path").to_owned();
            let schema = node.get(&format!("{}?format=json", address("schema"))).await;
            assert!(!schema["fields"].as_object().expect("fields").is_empty(), "{root}{name}");
            assert_eq!(schema["default_limit"], 20, "{root}{name}");
            let methods: Vec<_> = schema["allowed_list_http_methods"].as_array().expect("methods").iter().collect();
            if root.starts_with("command") {
                assert_eq!(methods, [&json!("post")], "{root}{name}");
            } else {
                assert!(node.get(&address("list_endpoint")).await["objects"].is_array(), "{root}{name}");
            }
            listed.insert(format!("{root}{name}"));
        }
    }
    assert_eq!(node.get("command/v1/platform/").await, json!({}));
    let expected = [
        "command/v1/conference/disconnect",
        "command/v1/participant/disconnect",
        "configuration/v1/authentication",
        "configuration/v1/automatic_participant",
        "configuration/v1/conference",
        "configuration/v1/conference_alias",
        "configuration/v1/event_sink",
        "configuration/v1/global",
        "configuration/v1/ivr_theme",
        "configuration/v1/oauth2_client",
        "configuration/v1/policy_server",
        "configuration/v1/system_location",
        "status/v1/alarm",
        "status/v1/conference",
        "status/v1/participant",
        "status/v1/worker_vm",
    ];
    assert_eq!(listed.iter().map(String::as_str).collect::<Vec<_>>(), expected);

    let schema = node.get(&format!("{ROOMS}schema/")).await;
    let field = |name: &str| schema["fields"][name].clone();
    assert_eq!(field("call_type")["valid_choices"], json!(["video", "audio", "video-only"]));
    assert_eq!(field("call_type")["default"], "video");
    assert_eq!((&field("resource_uri")["readonly"], &field("name")["unique"]), (&json!(true), &json!(true)));
    assert_eq!(field("max_callrate_in")["nullable"], true);
    assert_eq!((&schema["filtering"]["name"], &schema["filtering"]["aliases"]), (&json!(1), &json!(2)));
    assert_eq!(schema["filtering"].get("id"), None);
    assert!(schema["ordering"].as_array().is_some_and(|fields| fields.contains(&json!("creation_time"))));
    let (status, _, _) = node.send(Method::GET, "configuration/v1/nonsense/schema/", &json!({})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn objects_have_exactly_the_fields_of_their_schema() {
    let node = Node::start().await;
    node.pexip.insert(StoredRoom::named("a").with_alias("a"));
    node.pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    node.pexip.add_event_sink("http://127.0.0.1:9/".parse().expect("a URL"), "pexip", "secret");
    node.pexip.add_policy_server("http://127.0.0.1:9/".parse().expect("a URL"), "pexip", "secret");
    node.pexip.add_oauth2_client("room-service");
    node.pexip.join("a", maxconf_simulators::pexip::Role::Guest);
    for root in ["configuration/v1/", "status/v1/"] {
        for name in node.get(root).await.as_object().expect("an object").keys().filter(|name| *name != "alarm") {
            let list = node.get(&format!("{root}{name}/")).await;
            let schema = node.get(&format!("{root}{name}/schema/")).await;
            let names =
                |object: &Value| object.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(&list["objects"][0]), names(&schema["fields"]), "{root}{name}");
        }
    }
}

#[tokio::test]
async fn aliases_are_objects_that_can_be_listed_added_changed_and_deleted() {
    let node = Node::start().await;
    let first = node.pexip.insert(StoredRoom::named("first").with_alias("a"));
    let second = node.pexip.insert(StoredRoom::named("second").with_alias("b"));
    let uri = |id: u64| format!("/api/admin/configuration/v1/conference/{id}/");
    let aliases = |name: &str| -> Vec<String> {
        let room = node.pexip.room(name).expect("the room");
        room.aliases.into_iter().map(|alias| alias.alias).collect()
    };

    let (status, location, _) =
        node.send(Method::POST, ALIASES, &json!({"alias": "c", "conference": uri(first)})).await;
    assert_eq!((status, location.as_str()), (201, "/api/admin/configuration/v1/conference_alias/3/"));
    assert_eq!(aliases("first"), ["a", "c"]);
    let read = node.get(&location).await;
    assert_eq!((&read["alias"], &read["conference"], &read["id"]), (&json!("c"), &json!(uri(first)), &json!(3)));
    let listed = node.get(&format!("{ALIASES}?alias__in=b,c&order_by=-alias")).await;
    assert_eq!((&listed["meta"]["total_count"], &listed["objects"][0]["alias"]), (&json!(2), &json!("c")));
    assert_eq!(node.get(&format!("{ALIASES}?conference__name=second")).await["objects"][0]["alias"], "b");

    assert_eq!(
        node.send(Method::PATCH, &location, &json!({"description": "moved", "conference": uri(second)})).await.0,
        202
    );
    assert_eq!((aliases("first"), aliases("second")), (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(node.get(&location).await["description"], "moved");
    assert_eq!(node.send(Method::PUT, &location, &json!({"alias": "d", "conference": uri(second)})).await.0, 204);
    assert_eq!(aliases("second"), ["b", "d"]);

    let refused = [
        (json!({"alias": "a", "conference": uri(second)}), "Alias with this Alias already exists."),
        (json!({"alias": "e"}), "This field is required."),
        (json!({"conference": uri(second)}), "This field is required."),
    ];
    for (request, message) in refused {
        let (status, _, body) = node.send(Method::POST, ALIASES, &request).await;
        let fields = body["conference_alias"].as_object().cloned().unwrap_or_default();
        let messages: Vec<_> = fields.values().map(|messages| messages[0].clone()).collect();
        assert_eq!((status, messages), (400, vec![json!(message)]), "{request}");
    }
    let (status, _, body) = node.send(Method::POST, ALIASES, &json!({"alias": "e", "conference": uri(99)})).await;
    assert_eq!((status, body["error"].is_string()), (400, true));
    assert_eq!(node.send(Method::PATCH, &location, &json!({"alias": "a"})).await.0, 400);
    assert_eq!(node.send(Method::PUT, &location, &json!({"alias": "f"})).await.0, 400);

    assert_eq!(node.send(Method::DELETE, &location, &json!({})).await.0, 204);
    assert_eq!(node.send(Method::DELETE, &location, &json!({})).await.0, 404);
    assert_eq!(aliases("second"), ["b"]);
}

#[tokio::test]
async fn the_location_selects_event_sinks_and_a_policy_server() {
    let node = Node::start().await;
    let location = || node.get("configuration/v1/system_location/1/");
    let empty = location().await;
    assert_eq!((&empty["event_sinks"], &empty["policy_server"]), (&json!([]), &Value::Null));

    node.pexip.add_event_sink("https://vbv.example.org/events".parse().expect("a URL"), "pexip", "secret");
    node.pexip.add_policy_server("https://vbv.example.org/".parse().expect("a URL"), "policy", "secret");

    let selecting = location().await;
    let sinks = json!(["/api/admin/configuration/v1/event_sink/1/"]);
    let server = json!("/api/admin/configuration/v1/policy_server/1/");
    assert_eq!((&selecting["event_sinks"], &selecting["policy_server"]), (&sinks, &server));
    let server = node.get("configuration/v1/policy_server/1/").await;
    assert_eq!(
        (&server["url"], &server["username"], &server["enable_service_lookup"]),
        (&json!("https://vbv.example.org/"), &json!("policy"), &json!(true))
    );
    assert_eq!(node.get("configuration/v1/event_sink/1/").await["username"], "pexip");
    for (filter, total) in [("username=pexip", 1), ("username=other", 0), ("url__startswith=https:", 1)] {
        let sinks = node.get(&format!("configuration/v1/event_sink/?{filter}")).await;
        assert_eq!(sinks["meta"]["total_count"], total, "{filter}");
    }

    node.pexip.select_services_in_location(false);
    assert_eq!(location().await, empty);
    assert_eq!(node.get("configuration/v1/system_location/").await["meta"]["total_count"], 1);
    assert_eq!(node.send(Method::GET, "configuration/v1/system_location/2/", &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_conferencing_node_reports_its_contact_and_its_maintenance() {
    let node = Node::start().await;
    let status = || async { node.get("status/v1/worker_vm/").await["objects"][0].clone() };

    let in_service = status().await;
    assert_eq!((&in_service["sync_status"], &in_service["maintenance_mode"]), (&json!("SYNCED"), &json!(false)));
    assert_eq!(in_service.get("last_reported"), None);
    for field in ["last_updated", "last_attempted_contact"] {
        assert_eq!(in_service[field].as_str().map(str::len), Some("2017-05-11T22:02:05.855877".len()), "{field}");
    }
    node.pexip.set_maintenance(Some("upgrade"));
    let out = status().await;
    assert_eq!((&out["maintenance_mode"], &out["maintenance_mode_reason"]), (&json!(true), &json!("upgrade")));
    node.pexip.set_maintenance(None);
    assert_eq!(status().await["maintenance_mode"], false);
}

#[tokio::test]
async fn the_authentication_resource_shows_the_switches() {
    let node = Node::start().await;
    let shown = node.get("configuration/v1/authentication/1/").await;
    assert_eq!((&shown["api_oauth2_disable_basic"], &shown["api_oauth2_expiration"]), (&json!(false), &json!(3600)));
    assert_eq!(shown["client_certificate"], "NO");

    node.pexip.set_oauth2_token_lifetime(std::time::Duration::from_secs(600));
    let key = node.pexip.add_oauth2_client("room-service");

    assert_eq!(node.get("configuration/v1/authentication/1/").await["api_oauth2_expiration"], 600);
    let client = node.get("configuration/v1/oauth2_client/?client_id=room-service").await["objects"][0].clone();
    assert_eq!((&client["id"], &client["private_key_jwt"]), (&json!(1), &json!("")));
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
}
