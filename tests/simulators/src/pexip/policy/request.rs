//! What a Conferencing Node asks. Everything is in the query; values that are missing are empty.

use crate::pexip::administration::LOCATION;
use crate::pexip::service::{Callee, Service};

/// A look-up. Those of one join are the same.
#[derive(Clone, Debug)]
pub(in crate::pexip) struct Request {
    /// Address of the node that asks.
    pub(in crate::pexip) node: String,
    pub(in crate::pexip) call_direction: &'static str,
    pub(in crate::pexip) protocol: &'static str,
    pub(in crate::pexip) trigger: &'static str,
    pub(in crate::pexip) local_alias: String,
    pub(in crate::pexip) remote_alias: String,
    /// The running service that places the call.
    pub(in crate::pexip) service: Option<Service>,
}

impl Request {
    /// Somebody calls.
    pub(in crate::pexip) fn dial_in(
        node: &str,
        protocol: &'static str,
        trigger: &'static str,
        local_alias: &str,
        remote_alias: &str,
    ) -> Self {
        Self {
            node: node.to_owned(),
            call_direction: "dial_in",
            protocol,
            trigger,
            local_alias: local_alias.to_owned(),
            remote_alias: remote_alias.to_owned(),
            service: None,
        }
    }

    /// A running conference calls.
    pub(in crate::pexip) fn dial_out(node: &str, service: &Service, callee: &Callee) -> Self {
        Self {
            node: node.to_owned(),
            call_direction: "dial_out",
            protocol: callee.protocol,
            trigger: "unspecified",
            local_alias: callee.local_alias.clone(),
            remote_alias: callee.alias.clone(),
            service: Some(service.clone()),
        }
    }

    /// Somebody looks at the status of a conference.
    pub(super) fn of_status_view(name: &str) -> Self {
        Self { call_direction: "non_dial", ..Self::dial_in("127.0.0.1", "api", "unspecified", name, "") }
    }

    /// The parameters of a node of this release. Their order differs from node to node, and one is of a release to come.
    pub(super) fn query(&self, release: &str) -> Vec<(&'static str, String)> {
        let (version, build) = release.split_once(' ').unwrap_or((release, ""));
        let protocol = self.protocol.to_lowercase();
        let (vendor, port, bandwidth) = match protocol.as_str() {
            "api" | "webrtc" => ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0)", "40112", "0"),
            _ => ("TANDBERG/529 (ce11.9)", "51044", "0"),
        };
        let mut query = vec![
            ("bandwidth", bandwidth),
            ("breakout_uuid", ""),
            ("call_direction", self.call_direction),
            ("call_tag", ""),
            ("display_count", ""),
            ("encryption", "On"),
            ("has_authenticated_display_name", "False"),
            ("idp_uuid", ""),
            ("local_alias", &self.local_alias),
            ("location", LOCATION),
            ("node_ip", &self.node),
            ("of_a_release_to_come", "True"),
            ("previous_service_name", ""),
            ("protocol", &protocol),
            ("proxy_node_address", ""),
            ("proxy_node_location", ""),
            ("pseudo_version_id", build.trim_matches(['(', ')'])),
            ("registered", "False"),
            ("remote_address", "203.0.113.9"),
            ("remote_alias", &self.remote_alias),
            ("remote_display_name", &self.remote_alias),
            ("remote_port", port),
            ("supports_direct_media", "False"),
            ("teams_tenant_id", ""),
            ("telehealth_request_id", ""),
            ("third_party_passcode", ""),
            ("trigger", self.trigger),
            ("vendor", vendor),
            ("version_id", version),
        ];
        if let Some(service) = &self.service {
            query.extend([
                ("service_name", service.name.as_str()),
                ("service_tag", &service.tag),
                ("unique_service_name", &service.name),
            ]);
        }
        let first = self.node.bytes().map(usize::from).sum::<usize>() % query.len();
        query.rotate_left(first);
        query.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }
}
