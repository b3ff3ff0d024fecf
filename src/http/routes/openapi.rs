//! `GET /openapi.json`: what callers may rely on, made from the types and codes that answer them.

mod answers;
mod operations;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::health::HealthAnswer;
use super::room_answer::ConstrainedConference;
use crate::http::problem::Problem;

/// Of the document: a build also has its commit, which a copy kept beside the code cannot name.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the Functions host and the gateway add to the operations.
const DESCRIPTION: &str = "\
Hands out Pexip meeting rooms that were made in advance, for identity checks by video.

1. IDIM's server asks for a room (`room_create`) and gets one with the citizen's case written on it.
2. The agent's widget in Genesys Cloud looks at the room (`public_room`) and joins it.
3. IDIM's server ends the room (`room_delete`); what nobody ends is swept.

Each failure is an `application/problem+json` (RFC 9457) with a `code` to branch on; `detail` and `title` are for \
people. The first cause in time is the one that is told. New codes may come with a new version: treat one that you do \
not know by its status. No answer holds a token, a PIN, a tag or `uuiData` but the room itself.

Send an `x-request-id` of your own (1-64 of `A-Z a-z 0-9 _ -`) to find a request in the logs; each answer has one. A \
body that is sent where none is described is not looked at, but for its size: 16 KiB at most.

## What is answered by others, or to requests that are not described

The service runs behind the Azure Functions host, which answers these by itself, without the headers and the problem \
body that are described here:

| Status | When |
| --- | --- |
| 404, empty | The path, or the method for this path, is none of those below; a function is switched off. |
| 500, empty | The process ended while it worked on the request; it is being started again. |
| 503, plain text | The host itself is starting, or cannot start the process. |

Requests that are not described and reach the service all the same get `not_found` (404) or, with `Allow`, \
`method_not_allowed` (405). What is no proper HTTP request is refused with 400, 414 or 431 and may have no body.";

/// The address that serves the document.
pub(super) async fn handler() -> impl IntoResponse {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], BODY.clone())
}

/// The API as an OpenAPI 3.1 document. The same for every deployment of a build.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "MaxConf API",
            "version": VERSION,
            "summary": "Meeting rooms for identity checks by video",
            "description": DESCRIPTION,
            "license": { "name": "Proprietary", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "Where this document was read" }],
        "tags": [
            { "name": "IDIM", "description": "For IDIM's server, with a token of Microsoft Entra ID." },
            { "name": "Widget", "description": "For the agent's widget in the browser, with a token of Genesys Cloud." },
            { "name": "Pexip", "description": "For Pexip's Conferencing Nodes." },
            { "name": "Operation", "description": "For load balancer, gateway and developers; without a token." },
        ],
        "paths": operations::paths(),
        "components": {
            "securitySchemes": security_schemes(),
            "headers": answers::headers(),
            "schemas": schemas(),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "entra": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token of Microsoft Entra ID for an application (client credentials), once, in \
                `Authorization: Bearer`. Its tenant, audience and client must be those that the deployment allows, and \
                it must hold the app role of the operation. At most 8 KiB.",
        },
        "genesys": {
            "type": "apiKey",
            "in": "header",
            "name": "x-auth-token",
            "description": "The Genesys Cloud token of the agent who uses the widget, once. The user must be active, \
                in the organisation that the deployment allows, and the token issued to the widget's OAuth client. A \
                token of Entra is refused here and never shown to Genesys.",
        },
        "eventSink": {
            "type": "http",
            "scheme": "basic",
            "description": "The account that is set at Pexip's event sink.",
        },
    })
}

fn schemas() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    add::<ConstrainedConference<'_>>(&mut generator);
    add::<HealthAnswer>(&mut generator);
    add::<Problem<'_>>(&mut generator);
    Value::Object(generator.take_definitions(true))
}

/// Adds a type and what it consists of.
fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Where the document has the schema of a type.
fn schema_of<T: JsonSchema>() -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", T::schema_name()) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::problem::Code;

    /// An operation has its method.
    const OF_NO_OPERATION: [Code; 1] = [Code::MethodNotAllowed];

    fn words(values: &Value) -> BTreeSet<&str> {
        values.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    #[test]
    fn every_code_is_the_answer_of_an_operation() {
        let document = document();
        let known = words(&document["components"]["schemas"]["ProblemCode"]["enum"]);
        let operations = document["paths"].as_object().expect("paths").values().filter_map(Value::as_object).flatten();
        let answers = operations.filter_map(|(_, operation)| operation["responses"].as_object()).flatten();
        let told: BTreeSet<_> = answers
            .flat_map(|(_, answer)| {
                words(
                    &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"],
                )
            })
            .chain(OF_NO_OPERATION.map(Code::as_str))
            .collect();
        assert!(known.len() > 20, "the codes were found: {known:?}");
        assert_eq!(told, known);
    }
}
