//! The OpenAPI document and the gateway's list of operations, both made from the routes' declarations.
//!
//! utoipa and aide keep one response per status: a second cause of the same status replaces the first (aide rejects it,
//! <https://github.com/tamasfe/aide/issues/126>). Here the codes of guard, limits and handler are merged per status.

mod answer;
mod guard;
mod header;
mod operation;
mod schema;

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use crate::http::middleware::limits::MAX_BODY_KIB;
use crate::http::routes;
use guard::SecurityScheme;
use operation::OperationObject;

pub(crate) use answer::Answer;
pub(crate) use header::Header;
pub(crate) use operation::{Audience, Operation, Parameter};
pub(crate) use schema::Schema;

/// The package's version: a build's commit is not in the document, because its copy in the repository cannot name it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Document {
    openapi: &'static str,
    info: Info,
    servers: [Server; 1],
    tags: [Tag; 4],
    paths: BTreeMap<&'static str, BTreeMap<String, OperationObject>>,
    components: ComponentsObject,
}

#[derive(Serialize)]
struct Info {
    title: &'static str,
    version: &'static str,
    summary: &'static str,
    description: String,
    license: License,
}

#[derive(Serialize)]
struct License {
    name: &'static str,
    identifier: &'static str,
}

#[derive(Serialize)]
struct Server {
    url: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
struct Tag {
    name: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentsObject {
    headers: BTreeMap<String, Header>,
    schemas: serde_json::Map<String, Value>,
    security_schemes: BTreeMap<&'static str, SecurityScheme>,
}

/// What operations refer to; each operation adds what it uses.
struct Components {
    headers: BTreeMap<String, Header>,
    schemas: SchemaGenerator,
    security_schemes: BTreeMap<&'static str, SecurityScheme>,
}

/// The API as an OpenAPI 3.1 document. The same for every deployment of a build.
pub fn document() -> Value {
    let mut components = Components {
        headers: BTreeMap::new(),
        schemas: SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .for_serialize()
            .into_generator(),
        security_schemes: BTreeMap::new(),
    };
    let mut paths = BTreeMap::<_, BTreeMap<_, _>>::new();
    for operation in operations() {
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.entry(operation.path).or_default().insert(method, operation.object(&mut components));
    }
    let document = Document {
        openapi: "3.1.1",
        info: Info {
            title: "MaxConf API",
            version: VERSION,
            summary: "Meeting rooms for identity checks by video",
            description: description(),
            license: License { name: "Proprietary", identifier: env!("CARGO_PKG_LICENSE") },
        },
        servers: [Server { url: "/", description: "The service that this document was read from" }],
        tags: Audience::ALL.map(|audience| Tag { name: audience.tag(), description: audience.description() }),
        paths,
        components: ComponentsObject {
            headers: components.headers,
            schemas: components.schemas.take_definitions(true),
            security_schemes: components.security_schemes,
        },
    };
    serde_json::to_value(document).expect("the document consists of text and numbers")
}

/// The operations that the gateway publishes and the policy of each: `infra/gateway/operations.json`, one per line.
pub fn gateway_operations() -> String {
    let lines = operations().map(|Operation { id, method, path, audience, .. }| {
        let policy = audience.gateway_policy();
        format!("  {{ \"id\": \"{id}\", \"method\": \"{method}\", \"path\": \"{path}\", \"policy\": \"{policy}\" }}")
    });
    format!("[\n{}\n]\n", lines.collect::<Vec<_>>().join(",\n"))
}

fn operations() -> impl Iterator<Item = Operation> {
    routes::table().into_iter().flat_map(|route| route.operations)
}

fn description() -> String {
    format!(
        "\
Hands out Pexip meeting rooms that are made in advance, for identity checks by video.

1. IDIM's server requests a room (`room_create`) and gets one that carries the citizen's case.
2. The agent's widget in Genesys Cloud reads the room (`public_room`) and joins it.
3. IDIM's server ends the room (`room_delete`). A room that is not ended is swept.

Each failure is an `application/problem+json` (RFC 9457) with a `code` to branch on; `detail` and `title` are for \
people. The first cause in time is reported. A new version may add codes: treat an unknown one by its status. No answer \
but the room itself holds a token, a PIN, a tag or `uuiData`.

Send an `x-request-id` of your own (1-64 of `A-Z a-z 0-9 _ -`) to find a request in the logs; each answer has one. A \
body that is sent where none is described is ignored, except for its size: {MAX_BODY_KIB} KiB at most.

## Answers of other components, and to requests that are not described

The service runs behind the Azure Functions host, which gives these answers itself, without the headers and the problem \
body that are described here:

| Status | When |
| --- | --- |
| 404, empty | The path, or the method for this path, is none of those below; a function is switched off. |
| 500, empty | The process ended during the request; it is being restarted. |
| 503, plain text | The host itself is starting, or cannot start the process. |

Requests that are not described and still reach the service get `not_found` (404) or, with `Allow`, \
`method_not_allowed` (405). What is not a valid HTTP request is refused with 400, 414 or 431 and may have no body."
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::problem::Code;

    /// An operation has its method.
    const OF_NO_OPERATION: [Code; 1] = [Code::MethodNotAllowed];

    fn texts(values: &Value) -> BTreeSet<&str> {
        values.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    #[test]
    fn every_code_is_the_answer_of_an_operation() {
        let document = document();
        let known = texts(&document["components"]["schemas"]["ProblemCode"]["enum"]);
        let operations = document["paths"].as_object().expect("paths").values().filter_map(Value::as_object).flatten();
        let answers = operations.filter_map(|(_, operation)| operation["responses"].as_object()).flatten();
        let answered: BTreeSet<_> = answers
            .flat_map(|(_, answer)| {
                texts(
                    &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"],
                )
            })
            .chain(OF_NO_OPERATION.map(Code::as_str))
            .collect();
        assert!(known.len() > 20, "the codes were found: {known:?}");
        assert_eq!(answered, known);
    }
}
