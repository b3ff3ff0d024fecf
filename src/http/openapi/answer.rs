//! Answers of operations.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::header::Header;
use super::schema::{Reference, Schema};
use super::{Components, operation};
use crate::domain::InvalidUuiData;
use crate::http::problem::{self, Code, Problem};
use crate::http::routes::EXAMPLE_NAME;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// An answer that is no problem, as a route declares it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    description: &'static str,
    headers: Vec<Header>,
    body: Option<MediaType>,
    links: BTreeMap<&'static str, Link>,
    /// Adds the body's type to the components.
    define: Option<fn(&mut SchemaGenerator)>,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode, description: &'static str) -> Self {
        Self { status, description, headers: Vec::new(), body: None, links: BTreeMap::new(), define: None }
    }

    /// An answer with a body of the example's type.
    pub(crate) fn json<T: JsonSchema + Serialize>(status: StatusCode, description: &'static str, example: &T) -> Self {
        let body = MediaType::new(&Reference::schema::<T>(), Some(json!(example)));
        let define: fn(&mut SchemaGenerator) = |schemas| drop(schemas.subschema_for::<T>());
        Self { body: Some(body), define: Some(define), ..Self::empty(status, description) }
    }

    /// An answer with some JSON object.
    pub(crate) fn object(status: StatusCode, description: &'static str) -> Self {
        Self { body: Some(MediaType::new(&Schema::object(), None)), ..Self::empty(status, description) }
    }

    pub(crate) fn header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    /// Links to an operation on the room in this answer.
    pub(crate) fn link(mut self, name: &'static str, operation_id: &'static str, description: &'static str) -> Self {
        let parameters = BTreeMap::from([("name", "$response.body#/name")]);
        self.links.insert(name, Link { operation_id, parameters, description });
        self
    }

    pub(super) fn object_in(self, common: &[Header], components: &mut Components) -> ResponseObject {
        if let Some(define) = self.define {
            define(&mut components.schemas);
        }
        ResponseObject {
            description: self.description.to_owned(),
            headers: references(common.iter().cloned().chain(self.headers), components),
            content: self.body.map(|body| (JSON, body)).into_iter().collect(),
            links: self.links,
        }
    }
}

/// A Response Object.
#[derive(Debug, Serialize)]
pub(super) struct ResponseObject {
    description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Reference>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    content: BTreeMap<&'static str, MediaType>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    links: BTreeMap<&'static str, Link>,
}

impl ResponseObject {
    /// The answer of hyper, before there is a route.
    pub(super) fn headers_too_large() -> Self {
        let description = "The headers are too large. Answered before routing: without body and headers.".to_owned();
        Self { description, headers: BTreeMap::new(), content: BTreeMap::new(), links: BTreeMap::new() }
    }

    /// Some problem, in place of a success: linters demand one of each operation.
    pub(super) fn any_problem(description: &str, common: &[Header], components: &mut Components) -> Self {
        let body = MediaType::new(&Reference::schema::<Problem<'_>>(), None);
        Self {
            description: description.to_owned(),
            headers: references(common.iter().cloned(), components),
            content: BTreeMap::from([(PROBLEM, body)]),
            links: BTreeMap::new(),
        }
    }

    /// The problems of one status.
    pub(super) fn problems(
        status: StatusCode,
        codes: &[Code],
        common: &[Header],
        names_role: bool,
        components: &mut Components,
    ) -> Self {
        components.schemas.subschema_for::<Problem<'_>>();
        let own = match status {
            StatusCode::FORBIDDEN if !names_role => None,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(problem::challenge_header()),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(problem::retry_after_header()),
            _ => None,
        };
        let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
        let restriction = json!({
            "type": "object",
            "properties": { "status": { "const": status.as_u16() }, "code": { "enum": codes } },
        });
        let body = MediaType {
            schema: json!({ "allOf": [Reference::schema::<Problem<'_>>(), restriction] }),
            example: None,
            examples: codes.iter().map(|&code| (code.as_str(), Example::of(code))).collect(),
        };
        Self {
            description: meanings.join("\n"),
            headers: references(common.iter().cloned().chain(own), components),
            content: BTreeMap::from([(PROBLEM, body)]),
            links: BTreeMap::new(),
        }
    }

    /// Adds the problems that share its status.
    pub(super) fn merge(&mut self, problems: Self) {
        self.content.extend(problems.content);
    }
}

/// A Media Type Object.
#[derive(Debug, Serialize)]
pub(super) struct MediaType {
    schema: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    examples: BTreeMap<&'static str, Example>,
}

impl MediaType {
    pub(super) fn new(schema: &impl Serialize, example: Option<Value>) -> Self {
        Self { schema: json!(schema), example, examples: BTreeMap::new() }
    }
}

#[derive(Debug, Serialize)]
struct Example {
    summary: &'static str,
    value: Value,
}

impl Example {
    fn of(code: Code) -> Self {
        let detail = match code {
            Code::UuiDataMissing => Some(InvalidUuiData::Missing),
            Code::UuiDataInvalid => Some(InvalidUuiData::NotHexadecimal { position: 7 }),
            Code::UuiDataTooLong => Some(InvalidUuiData::TooLong { length: 129 }),
            _ => None,
        };
        let detail = detail.map(|invalid| invalid.to_string());
        Self { summary: code.title(), value: json!(code.problem(detail.as_deref(), EXAMPLE_NAME)) }
    }
}

/// A Link Object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    operation_id: &'static str,
    parameters: BTreeMap<&'static str, &'static str>,
    description: &'static str,
}

/// References to headers, which become components.
fn references(headers: impl Iterator<Item = Header>, components: &mut Components) -> BTreeMap<String, Reference> {
    headers
        .chain(operation::headers_of_every_answer())
        .map(|header| {
            let (name, component) = (header.name.to_string(), header.component_name().to_owned());
            let reference = Reference::header(&component);
            components.headers.insert(component, header);
            (name, reference)
        })
        .collect()
}
