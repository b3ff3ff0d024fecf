//! Root listings of the APIs and the schema of each resource: the vendor's command-line client reads them at its start.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::fields;
use super::listing::Listed;
use super::platform::Platform;
use super::room::StoredRoom;

/// The APIs whose root lists their resources; `history` has none here.
const ROOTS: [&str; 6] = [
    "configuration/v1",
    "status/v1",
    "history/v1",
    "command/v1/conference",
    "command/v1/participant",
    "command/v1/platform",
];

const READ: Methods = Methods { list: &["get"], detail: &["get"] };
const WRITE: Methods =
    Methods { list: &["get", "post", "put", "delete"], detail: &["get", "post", "put", "delete", "patch"] };
const LIST: Methods = Methods { list: &["get"], detail: &[] };
const COMMAND: Methods = Methods { list: &["post"], detail: &[] };

struct Methods {
    list: &'static [&'static str],
    detail: &'static [&'static str],
}

/// A resource that exists on the simulated node.
struct Resource {
    root: &'static str,
    name: &'static str,
    methods: Methods,
    /// Name and type of each field, separated by blanks. Empty for `conference`, whose fields have a table of their own.
    fields: &'static str,
}

const RESOURCES: [Resource; 16] = [
    Resource { root: "configuration/v1", name: "conference", methods: WRITE, fields: "" },
    Resource {
        root: "configuration/v1",
        name: "conference_alias",
        methods: WRITE,
        fields: "alias:string conference:related creation_time:datetime description:string id:integer \
                 resource_uri:string",
    },
    Resource {
        root: "configuration/v1",
        name: "automatic_participant",
        methods: READ,
        fields: "alias:string call_type:string conference:related creation_time:datetime description:string \
                 dtmf_sequence:string id:integer keep_conference_alive:string presentation_url:string protocol:string \
                 remote_display_name:string resource_uri:string role:string routing:string streaming:boolean \
                 system_location:related",
    },
    Resource {
        root: "configuration/v1",
        name: "global",
        methods: READ,
        fields: "es_connection_timeout:integer es_initial_retry_backoff:integer es_maximum_retry_backoff:integer \
                 guests_only_timeout:integer id:integer min_pin_length:integer resource_uri:string \
                 waiting_for_chair_timeout:integer",
    },
    Resource {
        root: "configuration/v1",
        name: "event_sink",
        methods: LIST,
        fields: "bulk_support:boolean description:string events:related filter_events:boolean id:integer name:string \
                 password:string resource_uri:string restart_date:datetime url:string username:string \
                 verify_tls_certificate:boolean version:integer",
    },
    Resource {
        root: "configuration/v1",
        name: "system_location",
        methods: READ,
        fields: "description:string event_sinks:related id:integer name:string policy_server:related \
                 resource_uri:string",
    },
    Resource {
        root: "configuration/v1",
        name: "policy_server",
        methods: READ,
        fields: "description:string enable_avatar_lookup:boolean enable_directory_lookup:boolean \
                 enable_internal_media_location_policy:boolean enable_internal_participant_policy:boolean \
                 enable_internal_service_policy:boolean enable_media_location_lookup:boolean \
                 enable_participant_lookup:boolean enable_registration_lookup:boolean \
                 enable_service_lookup:boolean id:integer internal_media_location_policy_template:string \
                 internal_participant_policy_template:string internal_service_policy_template:string name:string \
                 password:string prefer_local_avatar_configuration:boolean resource_uri:string url:string \
                 username:string",
    },
    Resource {
        root: "configuration/v1",
        name: "ivr_theme",
        methods: READ,
        fields: "id:integer name:string resource_uri:string uuid:string",
    },
    Resource {
        root: "configuration/v1",
        name: "authentication",
        methods: READ,
        fields: "api_oauth2_allow_all_perms:boolean api_oauth2_disable_basic:boolean api_oauth2_expiration:integer \
                 client_certificate:string id:integer resource_uri:string source:string",
    },
    Resource {
        root: "configuration/v1",
        name: "oauth2_client",
        methods: READ,
        fields: "client_id:string client_name:string id:integer private_key_jwt:string resource_uri:string role:related",
    },
    Resource {
        root: "status/v1",
        name: "conference",
        methods: LIST,
        fields: "guests_muted:boolean id:string is_locked:boolean is_started:boolean name:string resource_uri:string \
                 service_type:string start_time:datetime tag:string",
    },
    Resource {
        root: "status/v1",
        name: "participant",
        methods: LIST,
        fields: "call_direction:string call_quality:string call_uuid:string conference:string connect_time:datetime \
                 destination_alias:string display_name:string has_media:boolean id:string is_muted:boolean \
                 is_streaming:boolean media_node:string participant_alias:string protocol:string proxy_node:string \
                 resource_uri:string role:string service_tag:string service_type:string signalling_node:string \
                 source_alias:string",
    },
    Resource {
        root: "status/v1",
        name: "worker_vm",
        methods: LIST,
        fields: "boot_time:datetime configuration_id:integer deploy_status:string id:integer \
                 last_attempted_contact:datetime last_updated:datetime maintenance_mode:boolean \
                 maintenance_mode_reason:string media_load:integer name:string node_type:string resource_uri:string \
                 sync_status:string system_location:string upgrade_status:string version:string",
    },
    Resource {
        root: "status/v1",
        name: "alarm",
        methods: LIST,
        fields: "acknowledged:boolean details:string id:integer identifier:integer instance:string level:string \
                 name:string node:string resource_uri:string time_raised:datetime",
    },
    Resource { root: "command/v1/conference", name: "disconnect", methods: COMMAND, fields: "conference_id:string" },
    Resource { root: "command/v1/participant", name: "disconnect", methods: COMMAND, fields: "participant_id:string" },
];

pub(super) fn router() -> Router<Arc<Platform>> {
    let mut router = Router::new();
    for root in ROOTS {
        router = router.route(&format!("/api/admin/{root}/"), get(async move || Json(root_listing(root))));
    }
    for resource in &RESOURCES {
        router = router.route(&format!("{}schema/", resource.path()), get(async || Json(resource.schema())));
    }
    router
}

fn root_listing(root: &str) -> Value {
    let resources = RESOURCES.iter().filter(|resource| resource.root == root);
    let entry = |resource: &Resource| {
        let path = resource.path();
        (resource.name.to_owned(), json!({"list_endpoint": path, "schema": format!("{path}schema/")}))
    };
    Value::Object(resources.map(entry).collect())
}

impl Resource {
    fn path(&self) -> String {
        format!("/api/admin/{}/{}/", self.root, self.name)
    }

    fn schema(&self) -> Value {
        let is_room = self.fields.is_empty();
        let filtering: Map<_, _> = StoredRoom::FILTERABLE
            .iter()
            .filter(|_| is_room)
            .map(|field| ((*field).to_owned(), json!(if StoredRoom::RELATED.contains(field) { 2 } else { 1 })))
            .collect();
        json!({
            "allowed_detail_http_methods": self.methods.detail,
            "allowed_list_http_methods": self.methods.list,
            "default_format": "application/json",
            "default_limit": 20,
            "fields": if is_room { room_fields() } else { self.own_fields() },
            "filtering": filtering,
            "ordering": if is_room { StoredRoom::ORDERABLE } else { &[] },
        })
    }

    fn own_fields(&self) -> Map<String, Value> {
        let pairs = self.fields.split_whitespace().filter_map(|field| field.split_once(':'));
        pairs.map(|(name, kind)| (name.to_owned(), field(name, kind, kind == "related", &Value::Null, &[]))).collect()
    }
}

/// The fields of a room, as a room without any of them reads back.
fn room_fields() -> Map<String, Value> {
    let Value::Object(room) = StoredRoom::named("").json(&std::collections::BTreeMap::new()) else {
        return Map::new();
    };
    let describe = |(name, default): (String, Value)| {
        let (kind, nullable, choices) = match fields::find(&name) {
            Some((_, kind)) => kind.schema(),
            None if name == "creation_time" => ("datetime", false, &[][..]),
            None => match &default {
                Value::Bool(_) => ("boolean", false, &[][..]),
                Value::Number(_) => ("integer", false, &[][..]),
                Value::Array(_) => ("related", true, &[][..]),
                _ => ("string", false, &[][..]),
            },
        };
        let described = field(&name, kind, nullable, &default, choices);
        (name, described)
    };
    room.into_iter().map(describe).collect()
}

fn field(name: &str, kind: &str, nullable: bool, default: &Value, choices: &[&str]) -> Value {
    let is_required = matches!(name, "name" | "alias" | "conference_id" | "participant_id");
    json!({
        "blank": !is_required,
        "default": if is_required { json!("No default provided.") } else { default.clone() },
        "help_text": "",
        "nullable": nullable,
        "readonly": matches!(name, "resource_uri" | "scheduled_conferences_count"),
        "related_type": if kind == "related" { json!("to_many") } else { Value::Null },
        "type": kind,
        "unique": matches!(name, "id" | "name" | "alias"),
        "valid_choices": if choices.is_empty() { Value::Null } else { json!(choices) },
    })
}
