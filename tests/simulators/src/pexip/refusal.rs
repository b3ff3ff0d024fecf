//! The two forms of refusals of the management API.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Faulty fields of a resource, with messages.
    Fields { resource: &'static str, fields: BTreeMap<&'static str, Vec<String>> },
    /// An error that concerns no field.
    Request(String),
    /// There is no such object.
    NotFound,
}

impl Refusal {
    pub(super) fn field(resource: &'static str, field: &'static str, message: &str) -> Self {
        Self::Fields { resource, fields: BTreeMap::from([(field, vec![message.to_owned()])]) }
    }

    /// A URI in the request that names no object.
    pub(super) fn no_object(uri: &str) -> Self {
        Self::Request(format!("Could not find the provided object via resource URI '{uri}'."))
    }

    fn body(self) -> Option<Value> {
        match self {
            Self::Fields { resource, fields } => Some(json!({ resource: fields })),
            Self::Request(message) => Some(json!({ "error": message })),
            Self::NotFound => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self.body() {
            Some(body) => (StatusCode::BAD_REQUEST, Json(body)).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}
