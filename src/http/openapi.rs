//! The OpenAPI document and the gateway's list of operations, both made from the routes' declarations.
//!
//! utoipa and aide keep one response per status: a second cause of the same status replaces the first (aide rejects it,
//! <https://github.com/tamasfe/aide/issues/126>). Here the codes of guard, limits and handler are merged per status.

mod answer;
mod guard;
mod header;
mod operation;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::http::middleware::limits::MAX_BODY_KIB;

pub(crate) use answer::Answer;
pub(crate) use header::Header;
pub(crate) use operation::{Audience, Operation, Parameter};

/// The package's version: a build's commit is not in the document, because its copy in the repository cannot name it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A room's name, for examples.
pub(crate) const EXAMPLE_NAME: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

/// What operations refer to; each operation adds what it uses.
struct Components {
    headers: Map<String, Value>,
    schemas: SchemaGenerator,
    security_schemes: Map<String, Value>,
}

/// These operations as an OpenAPI 3.1 document. The same for every deployment of a build.
pub(crate) fn document(operations: impl Iterator<Item = Operation>) -> Value {
    let schemas = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let schemas = schemas.for_serialize().into_generator();
    let mut components = Components { headers: Map::new(), schemas, security_schemes: Map::new() };
    let mut paths = json!({});
    for operation in operations {
        let (path, method) = (operation.path, operation.method.as_str().to_ascii_lowercase());
        paths[path][method] = operation.object(&mut components);
    }
    let tags = Audience::ALL.map(|tag| json!({ "name": tag.tag(), "description": tag.description() }));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "MaxConf API",
            "version": VERSION,
            "summary": "Meeting rooms for identity checks by video",
            "description": description(),
            "license": { "name": "Proprietary", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "The service that this document was read from" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "headers": components.headers,
            "schemas": components.schemas.take_definitions(true),
            "securitySchemes": components.security_schemes,
        },
    })
}

/// These operations for the gateway, with the policy of each, one per line.
pub(crate) fn gateway_operations(operations: impl Iterator<Item = Operation>) -> String {
    let lines = operations.map(|Operation { id, method, path, gateway_policy: policy, .. }| {
        format!("  {{ \"id\": \"{id}\", \"method\": \"{method}\", \"path\": \"{path}\", \"policy\": \"{policy}\" }}")
    });
    format!("[\n{}\n]\n", lines.collect::<Vec<_>>().join(",\n"))
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
