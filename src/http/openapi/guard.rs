//! How guards appear in the document.

use serde_json::{Value, json};

use crate::auth::GENESYS_TOKEN;
use crate::http::permit::Guard;

impl Guard {
    /// The name of its security scheme.
    pub(super) fn scheme_name(self) -> &'static str {
        match self {
            Self::Entra(_) => "entra",
            Self::Genesys => "genesys",
            Self::EventSink => "eventSink",
            Self::Policy => "policy",
        }
    }

    /// Its Security Scheme Object.
    pub(super) fn scheme(self) -> Value {
        match self {
            Self::Entra(_) => json!({
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token of Microsoft Entra ID for an application (client credentials), sent \
                    once, in `Authorization: Bearer`. The deployment must allow its tenant, audience and client, and \
                    it must hold the app role of the operation. At most 8 KiB.",
            }),
            Self::Genesys => json!({
                "type": "apiKey",
                "in": "header",
                "name": GENESYS_TOKEN.as_str(),
                "description": "The Genesys Cloud token of the agent who uses the widget, sent once. The user must be \
                    active, in the organisation that the deployment allows, and the token must be issued to the \
                    widget's OAuth client. An Entra token is refused here and never sent to Genesys.",
            }),
            Self::EventSink => json!({
                "type": "http",
                "scheme": "basic",
                "description": "The account in the settings of Pexip's event sink.",
            }),
            Self::Policy => json!({
                "type": "http",
                "scheme": "basic",
                "description": "The account in Pexip's policy profile.",
            }),
        }
    }
}
