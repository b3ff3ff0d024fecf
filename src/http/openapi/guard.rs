//! How guards appear in the document.

use serde::Serialize;

use crate::auth::GENESYS_TOKEN;
use crate::http::permit::Guard;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecurityScheme {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer_format: Option<&'static str>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    location: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    description: &'static str,
}

impl Guard {
    /// The name of its security scheme.
    pub(super) fn scheme_name(self) -> &'static str {
        match self {
            Self::Entra(_) => "entra",
            Self::Genesys => "genesys",
            Self::EventSink => "eventSink",
        }
    }

    pub(super) fn scheme(self) -> SecurityScheme {
        let http = SecurityScheme {
            kind: "http",
            scheme: None,
            bearer_format: None,
            location: None,
            name: None,
            description: "",
        };
        match self {
            Self::Entra(_) => SecurityScheme {
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                description: "An access token of Microsoft Entra ID for an application (client credentials), sent once, \
                    in `Authorization: Bearer`. The deployment must allow its tenant, audience and client, and it must \
                    hold the app role of the operation. At most 8 KiB.",
                ..http
            },
            Self::Genesys => SecurityScheme {
                kind: "apiKey",
                location: Some("header"),
                name: Some(GENESYS_TOKEN.to_string()),
                description: "The Genesys Cloud token of the agent who uses the widget, sent once. The user must be \
                    active, in the organisation that the deployment allows, and the token must be issued to the \
                    widget's OAuth client. An Entra token is refused here and never sent to Genesys.",
                ..http
            },
            Self::EventSink => SecurityScheme {
                scheme: Some("basic"),
                description: "The account in the settings of Pexip's event sink.",
                ..http
            },
        }
    }
}
