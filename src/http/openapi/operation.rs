//! Operations: what callers may send, and everything that they may get.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::header::Header;
use super::{Components, EXAMPLE_NAME};
use crate::http::middleware::{limits, request_id, security_headers};
use crate::http::permit::Guard;
use crate::http::problem::Code;

/// Who calls a route. Decides its middleware, its tag in the document and, unless an operation has another,
/// its policy at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Idim,
    Widget,
    ConferencingNodes,
    /// Load balancer, gateway, developers and the Functions host, without credentials.
    Operation,
}

impl Audience {
    pub(super) const ALL: [Self; 4] = [Self::Idim, Self::Widget, Self::ConferencingNodes, Self::Operation];

    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Idim => "IDIM",
            Self::Widget => "Widget",
            Self::ConferencingNodes => "Pexip",
            Self::Operation => "Operation",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Idim => "For IDIM's server, with a token of Microsoft Entra ID.",
            Self::Widget => "For the agent's widget in the browser, with a token of Genesys Cloud.",
            Self::ConferencingNodes => "For Pexip's Conferencing Nodes.",
            Self::Operation => "For load balancer, gateway and developers; without a token.",
        }
    }

    /// The policy at the gateway, unless an operation has another.
    fn gateway_policy(self) -> &'static str {
        match self {
            Self::Idim => "idim",
            Self::Widget => "widget",
            Self::ConferencingNodes => "conferencing-nodes",
            Self::Operation => "open",
        }
    }

    /// The problems of the middleware around its routes.
    fn problems(self) -> &'static [Code] {
        match self {
            Self::Idim | Self::Widget | Self::ConferencingNodes => &limits::PROBLEMS,
            Self::Operation => &limits::PROBLEMS_OF_BODY,
        }
    }
}

/// One operation of the API, declared beside its handler.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    /// The policy at the gateway: the file in `infra/gateway/` without its extension.
    pub(super) gateway_policy: &'static str,
    guard: Option<Guard>,
    summary: &'static str,
    description: Option<String>,
    parameters: Vec<Parameter>,
    /// A Request Body Object.
    body: Option<Value>,
    answers: Vec<Answer>,
    no_success: Option<&'static str>,
    problems: Vec<Code>,
    /// On every answer of this operation.
    headers: Vec<Header>,
}

impl Operation {
    /// An operation with no answer yet, except hyper's 431.
    pub(crate) fn new(
        id: &'static str,
        audience: Audience,
        method: Method,
        path: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            id,
            method,
            path,
            audience,
            gateway_policy: audience.gateway_policy(),
            guard: None,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            no_success: None,
            problems: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn description(self, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    /// Another policy at the gateway than the audience's.
    pub(crate) fn gateway_policy(self, gateway_policy: &'static str) -> Self {
        Self { gateway_policy, ..self }
    }

    pub(crate) fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A JSON body of any form.
    pub(crate) fn body(self, description: &str, example: &Value) -> Self {
        let content = json!({ "application/json": { "schema": {}, "example": example } });
        Self { body: Some(json!({ "description": description, "required": false, "content": content })), ..self }
    }

    pub(crate) fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// Says that the operation never succeeds.
    pub(crate) fn without_success(self, description: &'static str) -> Self {
        Self { no_success: Some(description), ..self }
    }

    /// Adds problems of the handler.
    pub(crate) fn problems(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes);
        self
    }

    pub(crate) fn header_of_every_answer(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    /// Adds what stands before the handler: its guard, and the middleware's limits.
    pub(crate) fn behind(mut self, guard: Option<Guard>) -> Self {
        self.guard = guard;
        self.problems.extend(guard.map(Guard::problems).unwrap_or_default());
        let limits = self.audience.problems();
        self.problems(limits)
    }

    /// Its Operation Object.
    pub(super) fn object(self, components: &mut Components) -> Value {
        if let Some(guard) = self.guard {
            components.security_schemes.insert(guard.scheme_name().to_owned(), guard.scheme());
        }
        let common = self.headers;
        let mut responses = Map::new();
        responses.insert(key(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), answer::headers_too_large());
        for answer in self.answers {
            responses.insert(key(answer.status), answer.object_in(&common, components));
        }
        let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
        for code in self.problems {
            by_status.entry(code.status()).or_default().push(code);
        }
        let names_role = matches!(self.guard, Some(Guard::Entra(_)));
        for (status, codes) in by_status {
            let problems = answer::problems(status, &codes, &common, names_role, components);
            match responses.get_mut(status.as_str()) {
                Some(answer) => answer::merge(answer, problems),
                None => drop(responses.insert(key(status), problems)),
            }
        }
        if let Some(description) = self.no_success {
            responses.insert("default".to_owned(), answer::any_problem(description, &common, components));
        }
        let security: Vec<_> = self.guard.iter().map(|guard| json!({ guard.scheme_name(): [] })).collect();
        let parameters: Vec<_> =
            self.parameters.into_iter().chain([Parameter::request_id()]).map(|parameter| parameter.0).collect();
        answer::without_empty(json!({
            "operationId": self.id,
            "tags": [self.audience.tag()],
            "summary": self.summary,
            "description": self.description,
            "security": security,
            "parameters": parameters,
            "requestBody": self.body,
            "responses": responses,
        }))
    }
}

fn key(status: StatusCode) -> String {
    status.as_str().to_owned()
}

/// A Parameter Object.
#[derive(Debug)]
pub(crate) struct Parameter(Value);

impl Parameter {
    pub(crate) fn path(name: &str, description: &str, schema: &Value, example: &str) -> Self {
        Self::required("path", name, description, schema, example)
    }

    pub(crate) fn query(name: &str, description: &str, schema: &Value, example: &str) -> Self {
        Self::required("query", name, description, schema, example)
    }

    /// A parameter that may be left out.
    pub(crate) fn optional(mut self) -> Self {
        self.0["required"] = false.into();
        self
    }

    /// A header that may be left out.
    pub(crate) fn optional_header(name: &str, description: &str, schema: &Value, example: &str) -> Self {
        Self::required("header", name, description, schema, example).optional()
    }

    /// An optional header with any text: none is refused.
    pub(crate) fn header(name: &str, description: &str, example: &str) -> Self {
        let schema = json!({ "type": "string" });
        Self(json!({ "name": name, "in": "header", "description": description, "schema": schema, "example": example }))
    }

    fn request_id() -> Self {
        let description = "An id for the logs: 1-64 of `A-Z a-z 0-9 _ -`. Anything else is replaced by a new one.";
        Self::header("x-request-id", description, EXAMPLE_NAME)
    }

    fn required(location: &str, name: &str, description: &str, schema: &Value, example: &str) -> Self {
        Self(json!({
            "name": name,
            "in": location,
            "required": true,
            "description": description,
            "schema": schema,
            "example": example,
        }))
    }
}

pub(super) fn headers_of_every_answer() -> impl Iterator<Item = Header> {
    security_headers::documented().chain([request_id::documented()])
}
