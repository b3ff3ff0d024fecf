//! The answers of operations: statuses with their codes, bodies and headers.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{VERSION, schema_of};
use crate::domain::InvalidUuiData;
use crate::http::problem::{Code, Problem};
use crate::http::routes::room_answer::EXAMPLE_NAME;

/// Headers that every answer of the service carries.
const OF_EVERY_ANSWER: [&str; 8] = [
    "x-request-id",
    "maxconf-version",
    "Cache-Control",
    "Content-Security-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
];

/// The bounds of every request.
pub(super) const BOUNDS: [Code; 4] = [Code::BodyTooLarge, Code::Overloaded, Code::DeadlineExceeded, Code::Internal];

/// The bounds of a probe, which must be answered by an instance that is busy. The first two are of its body: the host
/// passes one on with a GET as well.
pub(super) const BOUNDS_OF_A_PROBE: [Code; 4] =
    [Code::RequestInvalid, Code::DeadlineExceeded, Code::BodyTooLarge, Code::Internal];

/// The guard of IDIM's routes.
pub(super) const ENTRA: [Code; 6] = [
    Code::RequestInvalid,
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::NotPermitted,
    Code::RateLimited,
    Code::EntraUnavailable,
];

/// The guard of the widget's route.
pub(super) const GENESYS: [Code; 7] = [
    Code::RequestInvalid,
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::NotPermitted,
    Code::RateLimited,
    Code::GenesysUnavailable,
    Code::GenesysInvalid,
];

/// The guard of the Conferencing Nodes' route.
pub(super) const EVENT_SINK: [Code; 3] = [Code::RequestInvalid, Code::TokenMissing, Code::TokenInvalid];

/// The calls to Pexip.
pub(super) const PEXIP: [Code; 4] =
    [Code::PexipRefused, Code::PexipInvalid, Code::PexipUnavailable, Code::PexipTimeout];

/// The header components, by the names that they are referred to by.
pub(super) fn headers() -> Value {
    let text = |description: &str, example: &str| json!({ "required": true, "description": description, "schema": { "type": "string" }, "example": example });
    let fixed = |value: &str| {
        let description = "The same for every answer.";
        json!({ "required": true, "description": description, "schema": { "type": "string", "const": value } })
    };
    json!({
        "x-request-id": {
            "required": true,
            "description": "The caller's own, if it can stand in a log, else a new one.",
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "example": EXAMPLE_NAME,
        },
        "maxconf-version": text("The version of the service that answered.", VERSION),
        "Cache-Control": fixed("no-store"),
        "Content-Security-Policy": fixed("default-src 'none'; frame-ancestors 'none'"),
        "Referrer-Policy": fixed("no-referrer"),
        "Strict-Transport-Security": fixed("max-age=31536000; includeSubDomains"),
        "X-Content-Type-Options": fixed("nosniff"),
        "X-Frame-Options": fixed("DENY"),
        "Retry-After": {
            "required": true,
            "description": "Seconds to wait before the next try.",
            "schema": { "type": "integer", "minimum": 1, "maximum": 60 },
            "example": 5,
        },
        "WWW-Authenticate": text(
            "The challenge (RFC 6750 §3, RFC 7617): `Bearer` with the realm `maxconf` or `genesys`, or `Basic`. With \
            `error` only where a token was sent; `error_description` says no more than whether it has expired, `scope` \
            which app role is wanted.",
            "Bearer realm=\"maxconf\", error=\"invalid_token\", error_description=\"token validation failed\"",
        ),
        "Room-Source": {
            "required": true,
            "description": "`pool`: the room was ready. `direct`: it was made just now and can be joined once Pexip has \
                replicated it.",
            "schema": { "type": "string", "enum": ["pool", "direct"] },
        },
        "Joinable-After": {
            "description": "Only with `Room-Source: direct`: seconds to wait before the room is joined.",
            "schema": { "type": "integer", "minimum": 0 },
            "example": 90,
        },
        "Allow": text("The methods of this address.", "GET,HEAD"),
        "Vary": text("What the CORS headers depend on.", "origin, access-control-request-method, access-control-request-headers"),
        "Access-Control-Allow-Origin": {
            "description": "The page's origin, if it is on the list of the deployment. For any other origin, and for \
                `null`, there is no CORS header at all.",
            "schema": { "type": "string" },
            "example": "https://agent.example.org",
        },
        "Access-Control-Expose-Headers": {
            "description": "For an origin on the list: which headers the page may read besides the usual ones.",
            "schema": { "type": "string", "const": "x-request-id,retry-after,www-authenticate" },
        },
        "Access-Control-Allow-Methods": {
            "description": "For an origin on the list.",
            "schema": { "type": "string", "const": "GET" },
        },
        "Access-Control-Allow-Headers": {
            "description": "For an origin on the list: which headers the page may send.",
            "schema": { "type": "string", "const": "x-auth-token,x-request-id" },
        },
        "Access-Control-Max-Age": {
            "description": "For an origin on the list: how long the browser need not ask again, in seconds.",
            "schema": { "type": "integer", "const": 7200 },
        },
    })
}

/// The answers of one operation.
pub(super) struct Answers {
    by_status: Map<String, Value>,
    /// Of every answer of this operation, besides those of every answer.
    headers: &'static [&'static str],
    /// Whether a refused token is told which role it lacks.
    wants_role: bool,
}

impl Answers {
    /// Without any answer yet, but for the one that the HTTP library gives. `headers` are on every answer.
    pub(super) fn with_headers(headers: &'static [&'static str]) -> Self {
        let too_large = json!({
            "description": "The headers are too large. Answered before a route is found: without body and headers.",
        });
        let by_status = Map::from_iter([("431".to_owned(), too_large)]);
        Self { by_status, headers, wants_role: false }
    }

    /// Adds an answer that is no problem. `body` is its schema and an example, null for none.
    pub(super) fn and(mut self, status: StatusCode, description: &str, headers: &[(&str, &str)], body: &Value) -> Self {
        let mut answer = json!({ "description": description, "headers": self.refer_to(headers) });
        if !body.is_null() {
            answer["content"] = json!({ "application/json": body });
        }
        self.by_status.insert(status.as_str().to_owned(), answer);
        self
    }

    /// Adds links to what can be done with the room in the answer of this status.
    pub(super) fn linked(mut self, status: StatusCode, links: Value) -> Self {
        self.by_status[status.as_str()]["links"] = links;
        self
    }

    /// Says that there is no success. In the form of a default answer, for linters want an operation to have one.
    pub(super) fn without_success(mut self, why: &str) -> Self {
        let content = json!({ "application/problem+json": { "schema": schema_of::<Problem<'_>>() } });
        let answer = json!({ "description": why, "headers": self.refer_to(&[]), "content": content });
        self.by_status.insert("default".to_owned(), answer);
        self
    }

    /// Has 403 name the role that the operation wants (RFC 6750 §3.1).
    pub(super) fn for_a_role(mut self) -> Self {
        self.wants_role = true;
        self
    }

    /// The `responses` of the operation, with these problems, by their statuses.
    pub(super) fn or(mut self, codes: &[&[Code]]) -> Value {
        let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
        for code in codes.iter().copied().flatten() {
            by_status.entry(code.status()).or_default().push(*code);
        }
        for (status, codes) in by_status {
            let problem = self.problem(status, &codes);
            match self.by_status.entry(status.as_str()) {
                serde_json::map::Entry::Vacant(place) => drop(place.insert(problem)),
                // Two forms of a body under one status.
                serde_json::map::Entry::Occupied(mut place) => {
                    let media_type = problem["content"]["application/problem+json"].clone();
                    place.get_mut()["content"]["application/problem+json"] = media_type;
                }
            }
        }
        Value::Object(self.by_status)
    }

    fn problem(&self, status: StatusCode, codes: &[Code]) -> Value {
        let headers: &[_] = match status {
            StatusCode::FORBIDDEN if !self.wants_role => &[],
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => &[("WWW-Authenticate", "WWW-Authenticate")],
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => &[("Retry-After", "Retry-After")],
            _ => &[],
        };
        let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
        let examples: Map<_, _> = codes
            .iter()
            .map(|&code| {
                let detail = detail(code);
                let problem = code.problem(detail.as_deref(), EXAMPLE_NAME);
                (code.as_str().to_owned(), json!({ "summary": code.title(), "value": problem }))
            })
            .collect();
        json!({
            "description": meanings.join("\n"),
            "headers": self.refer_to(headers),
            "content": {
                "application/problem+json": {
                    "schema": {
                        "allOf": [
                            schema_of::<Problem<'_>>(),
                            {
                                "type": "object",
                                "properties": {
                                    "status": { "const": status.as_u16() },
                                    "code": { "enum": codes },
                                },
                            },
                        ],
                    },
                    "examples": examples,
                },
            },
        })
    }

    /// References to the headers of every answer, of the operation's answers, and to these: names on the wire, and of
    /// their components.
    fn refer_to(&self, headers: &[(&str, &str)]) -> Value {
        let of_all = OF_EVERY_ANSWER.iter().chain(self.headers).map(|name| (*name, *name));
        let references = of_all
            .chain(headers.iter().copied())
            .map(|(name, component)| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{component}") })));
        Value::Object(references.collect())
    }
}

/// What more is told where something is.
fn detail(code: Code) -> Option<String> {
    match code {
        Code::UuiDataMissing => Some(InvalidUuiData::Missing.to_string()),
        Code::UuiDataInvalid => Some(InvalidUuiData::NotHexadecimal { position: 7 }.to_string()),
        Code::UuiDataTooLong => Some(InvalidUuiData::TooLong { length: 129 }.to_string()),
        _ => None,
    }
}
