//! The platform's settings and state, as far as rooms depend on them.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::conferences::{AUTOMATIC_PARTICIPANT, null_as_default};
use super::{PexipClient, PexipError};

const GLOBAL: &str = "configuration/v1/global";
const EVENT_SINKS: &str = "configuration/v1/event_sink";
const POLICY_SERVERS: &str = "configuration/v1/policy_server";
const LOCATIONS: &str = "configuration/v1/system_location";
const CONFERENCING_NODES: &str = "status/v1/worker_vm";
const ALARMS: &str = "status/v1/alarm";

/// An event sink of the platform. Its password is not read.
#[derive(Debug, Deserialize)]
pub struct EventSinkRecord {
    #[serde(default, deserialize_with = "null_as_default")]
    pub resource_uri: String,
    pub url: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub username: String,
    /// Whether only [`events`](Self::events) are sent. Older releases send all.
    #[serde(default, deserialize_with = "null_as_default")]
    pub filter_events: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    pub events: Vec<EventName>,
}

/// A policy server of the platform. Its password is not read. A switch that the release does not have is `None`.
#[derive(Debug, Deserialize)]
pub struct PolicyServerRecord {
    #[serde(default, deserialize_with = "null_as_default")]
    pub resource_uri: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub url: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub username: String,
    /// Whether it may be asked over http. Releases before 42 have no such switch, and allow it.
    pub allow_http: Option<bool>,
    enable_service_lookup: Option<bool>,
    enable_participant_lookup: Option<bool>,
    enable_media_location_lookup: Option<bool>,
    enable_avatar_lookup: Option<bool>,
    enable_directory_lookup: Option<bool>,
    enable_registration_lookup: Option<bool>,
    enable_internal_service_policy: Option<bool>,
    enable_internal_participant_policy: Option<bool>,
    enable_internal_media_location_policy: Option<bool>,
}

impl PolicyServerRecord {
    /// Whether nodes look up what is dialled.
    pub fn looks_up_services(&self) -> bool {
        self.enable_service_lookup == Some(true)
    }

    /// What else is on: other look-ups, and scripts on the node that are run after a look-up.
    pub fn other_switches(&self) -> impl Iterator<Item = &'static str> {
        let switches = [
            ("enable_participant_lookup", self.enable_participant_lookup),
            ("enable_media_location_lookup", self.enable_media_location_lookup),
            ("enable_avatar_lookup", self.enable_avatar_lookup),
            ("enable_directory_lookup", self.enable_directory_lookup),
            ("enable_registration_lookup", self.enable_registration_lookup),
            ("enable_internal_service_policy", self.enable_internal_service_policy),
            ("enable_internal_participant_policy", self.enable_internal_participant_policy),
            ("enable_internal_media_location_policy", self.enable_internal_media_location_policy),
        ];
        switches.into_iter().filter(|(_, is_on)| *is_on == Some(true)).map(|(name, _)| name)
    }
}

/// A location of the platform. Its Conferencing Nodes report to the event sinks, and ask the policy server, that it
/// selects.
#[derive(Debug, Deserialize)]
pub struct SystemLocation {
    pub name: String,
    /// Each is a path, or an object that has it.
    #[serde(default, deserialize_with = "null_as_default")]
    event_sinks: Vec<Value>,
    /// The same, or null.
    #[serde(default)]
    policy_server: Value,
}

impl SystemLocation {
    /// Whether this event sink is selected.
    pub fn selects(&self, sink: &EventSinkRecord) -> bool {
        self.event_sinks.iter().any(|selected| is_object_at(&sink.resource_uri, selected))
    }

    /// Whether this policy server is selected.
    pub fn asks(&self, server: &PolicyServerRecord) -> bool {
        is_object_at(&server.resource_uri, &self.policy_server)
    }
}

fn is_object_at(path: &str, selected: &Value) -> bool {
    !path.is_empty() && (selected == path || selected["resource_uri"] == path)
}

/// The name of a kind of event.
#[derive(Debug, Deserialize)]
pub struct EventName {
    pub name: String,
}

/// A Conferencing Node, where people join.
#[derive(Debug, Deserialize)]
pub struct ConferencingNode {
    /// Such as `40 (79715.0.0)`: release and build.
    #[serde(default, deserialize_with = "null_as_default")]
    pub version: String,
    /// The name of its location.
    #[serde(default, deserialize_with = "null_as_default")]
    pub system_location: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub maintenance_mode: bool,
    /// What the operator gave as the reason for the maintenance mode.
    #[serde(default, deserialize_with = "null_as_default")]
    pub maintenance_mode_reason: String,
}

/// An alarm of the platform.
#[derive(Debug, Deserialize)]
pub struct Alarm {
    #[serde(default, deserialize_with = "null_as_default")]
    name: String,
}

impl Alarm {
    /// Whether it reports a stopped event sink. The vendor documents that alarm without its exact name, so case and
    /// blanks are ignored.
    pub fn is_about_an_event_sink(&self) -> bool {
        let letters: String = self.name.chars().filter(char::is_ascii_alphabetic).collect();
        letters.to_ascii_lowercase().contains("eventsink")
    }
}

#[derive(Deserialize)]
struct Global {
    #[serde(default)]
    min_pin_length: Option<usize>,
}

impl PexipClient {
    /// The minimum length of a PIN; `None` if the release has no such setting.
    pub async fn min_pin_length(&self) -> Result<Option<usize>, PexipError> {
        let global = self.all::<Global>("settings", GLOBAL).await?;
        Ok(global.into_iter().find_map(|global| global.min_pin_length))
    }

    /// Whether there is an `automatic_participant` object with this id.
    pub async fn finds_automatic_participant(&self, id: u64) -> Result<bool, PexipError> {
        let permit = self.reserve().await?;
        let request = self.request(Method::GET, &format!("{AUTOMATIC_PARTICIPANT}/{id}"));
        match self.fetch::<serde::de::IgnoredAny>("automatic_participant", permit, request).await {
            Ok(_) => Ok(true),
            Err(PexipError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The event sinks to which Conferencing Nodes report.
    pub async fn event_sinks(&self) -> Result<Vec<EventSinkRecord>, PexipError> {
        self.all("event_sinks", EVENT_SINKS).await
    }

    /// The policy servers that Conferencing Nodes ask.
    pub async fn policy_servers(&self) -> Result<Vec<PolicyServerRecord>, PexipError> {
        self.all("policy_servers", POLICY_SERVERS).await
    }

    /// The locations of the platform.
    pub async fn locations(&self) -> Result<Vec<SystemLocation>, PexipError> {
        self.all("locations", LOCATIONS).await
    }

    /// The Conferencing Nodes.
    pub async fn conferencing_nodes(&self) -> Result<Vec<ConferencingNode>, PexipError> {
        self.all("nodes", CONFERENCING_NODES).await
    }

    /// The active alarms.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, PexipError> {
        self.all("alarms", ALARMS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_sink_alarm_is_recognised_in_every_spelling() {
        let about = |name: &str| Alarm { name: name.to_owned() }.is_about_an_event_sink();
        for name in ["eventsink_stopped", "Event sink reached maximum back-off", "EVENT-SINK"] {
            assert!(about(name), "{name:?}");
        }
        for name in ["", "licenses_exhausted", "event", "Sink"] {
            assert!(!about(name), "{name:?}");
        }
    }
}
