//! Policy servers, as administrators configure them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

/// The switches of the simulated release. `allow_http` exists since release 42 only.
const SWITCHES: [&str; 9] = [
    "enable_avatar_lookup",
    "enable_directory_lookup",
    "enable_internal_media_location_policy",
    "enable_internal_participant_policy",
    "enable_internal_service_policy",
    "enable_media_location_lookup",
    "enable_participant_lookup",
    "enable_registration_lookup",
    "enable_service_lookup",
];

/// A policy server that an operator has configured.
#[derive(Clone, Debug)]
pub(super) struct PolicyServer {
    pub(super) url: Url,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) switches: BTreeMap<&'static str, bool>,
}

impl PolicyServer {
    /// One that is asked for services only.
    pub(super) fn new(url: Url, username: &str, password: &str) -> Self {
        let switches = SWITCHES.into_iter().map(|name| (name, name == "enable_service_lookup")).collect();
        Self { url, username: username.to_owned(), password: password.to_owned(), switches }
    }

    /// Whether nodes ask it for services. A release that knows no `allow_http` allows plain HTTP.
    pub(super) fn is_asked_for_services(&self) -> bool {
        let is_on = |switch, if_unknown| self.switches.get(switch).copied().unwrap_or(if_unknown);
        is_on("enable_service_lookup", false) && (self.url.scheme() != "http" || is_on("allow_http", true))
    }

    /// Contains the password in clear text: the service must not read it, whether real nodes return it or not.
    pub(super) fn record(&self, id: u64, path: &str) -> Value {
        let mut record = json!({
            "description": "", "id": id, "internal_media_location_policy_template": "",
            "internal_participant_policy_template": "", "internal_service_policy_template": "",
            "name": format!("Policy server {id}"), "password": self.password,
            "prefer_local_avatar_configuration": false, "resource_uri": format!("{path}{id}/"), "url": self.url,
            "username": self.username,
        });
        for (name, is_on) in &self.switches {
            record[*name] = json!(is_on);
        }
        record
    }
}
