//! Answers of operations, as Response Objects.

use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::header::Header;
use super::{Components, EXAMPLE_NAME, operation};
use crate::domain::InvalidUuiData;
use crate::http::problem::{self, Code, Problem};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// An answer that is no problem, as a route declares it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    description: &'static str,
    headers: Vec<Header>,
    body: Option<Body>,
    links: Map<String, Value>,
}

#[derive(Debug)]
struct Body {
    schema: fn(&mut SchemaGenerator) -> Schema,
    example: Option<Value>,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode, description: &'static str) -> Self {
        Self { status, description, headers: Vec::new(), body: None, links: Map::new() }
    }

    /// An answer with a body of the example's type.
    pub(crate) fn json<T: JsonSchema + Serialize>(status: StatusCode, description: &'static str, example: &T) -> Self {
        let body = Body { schema: SchemaGenerator::subschema_for::<T>, example: Some(json!(example)) };
        Self { body: Some(body), ..Self::empty(status, description) }
    }

    /// The same, or with an object that another system defines.
    pub(crate) fn json_or_object<T: JsonSchema + Serialize>(
        status: StatusCode,
        description: &'static str,
        example: &T,
    ) -> Self {
        let schema = |schemas: &mut SchemaGenerator| json_schema!({ "anyOf": [schemas.subschema_for::<T>(), { "type": "object" }] });
        let body = Body { schema, example: Some(json!(example)) };
        Self { body: Some(body), ..Self::empty(status, description) }
    }

    /// An answer with some JSON object.
    pub(crate) fn object(status: StatusCode, description: &'static str) -> Self {
        let body = Body { schema: |_| json_schema!({ "type": "object" }), example: None };
        Self { body: Some(body), ..Self::empty(status, description) }
    }

    pub(crate) fn header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    /// Links to an operation on the room in this answer.
    pub(crate) fn link(mut self, name: &str, operation_id: &str, description: &str) -> Self {
        let parameters = json!({ "name": "$response.body#/name" });
        let link = json!({ "operationId": operation_id, "parameters": parameters, "description": description });
        self.links.insert(name.to_owned(), link);
        self
    }

    pub(super) fn object_in(self, common: &[Header], components: &mut Components) -> Value {
        let content = self.body.map(|body| {
            let schema = (body.schema)(&mut components.schemas);
            json!({ JSON: without_empty(json!({ "schema": schema, "example": body.example })) })
        });
        without_empty(json!({
            "description": self.description,
            "headers": references(common.iter().cloned().chain(self.headers), components),
            "content": content,
            "links": self.links,
        }))
    }
}

/// Hyper's answer, before there is a route.
pub(super) fn headers_too_large() -> Value {
    json!({ "description": "The headers are too large. Answered before routing: without body and headers." })
}

/// Some problem, in place of a success: linters demand one of each operation.
pub(super) fn any_problem(description: &str, common: &[Header], components: &mut Components) -> Value {
    let schema = components.schemas.subschema_for::<Problem<'_>>();
    json!({
        "description": description,
        "headers": references(common.iter().cloned(), components),
        "content": { PROBLEM: { "schema": schema } },
    })
}

/// The problems of one status.
pub(super) fn problems(
    status: StatusCode,
    codes: &[Code],
    common: &[Header],
    names_role: bool,
    components: &mut Components,
) -> Value {
    let own = match status {
        StatusCode::FORBIDDEN if !names_role => None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(problem::challenge_header()),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {
            Some(problem::retry_after_header())
        }
        _ => None,
    };
    let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let restriction = json!({
        "type": "object",
        "properties": { "status": { "const": status.as_u16() }, "code": { "enum": codes } },
    });
    let examples: Map<_, _> = codes.iter().map(|&code| (code.as_str().to_owned(), example(code))).collect();
    let schema = json!({ "allOf": [components.schemas.subschema_for::<Problem<'_>>(), restriction] });
    json!({
        "description": meanings.join("\n"),
        "headers": references(common.iter().cloned().chain(own), components),
        "content": { PROBLEM: { "schema": schema, "examples": examples } },
    })
}

/// Adds the problems that have the status of an answer.
pub(super) fn merge(answer: &mut Value, mut problems: Value) {
    answer["content"][PROBLEM] = problems["content"][PROBLEM].take();
}

fn example(code: Code) -> Value {
    let detail = match code {
        Code::UuiDataMissing => Some(InvalidUuiData::Missing),
        Code::UuiDataInvalid => Some(InvalidUuiData::NotHexadecimal { position: 7 }),
        Code::UuiDataTooLong => Some(InvalidUuiData::TooLong { length: 129 }),
        _ => None,
    };
    let detail = detail.map(|invalid| invalid.to_string());
    json!({ "summary": code.title(), "value": code.problem(detail.as_deref(), EXAMPLE_NAME) })
}

/// References to headers, which become components.
fn references(headers: impl Iterator<Item = Header>, components: &mut Components) -> Map<String, Value> {
    headers
        .chain(operation::headers_of_every_answer())
        .map(|header| {
            let component = header.component_name().to_owned();
            let reference = json!({ "$ref": format!("#/components/headers/{component}") });
            components.headers.insert(component, header.object);
            (header.name.into_owned(), reference)
        })
        .collect()
}

/// The object without the fields that are null or an empty object.
pub(super) fn without_empty(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|fields| !fields.is_empty()));
    }
    object
}
