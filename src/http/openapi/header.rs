//! Headers of answers.

use std::borrow::Cow;

use axum::http::header::HeaderName;
use serde::Serialize;

use super::schema::{Scalar, Schema};

/// A header, declared beside the code that sets it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Header {
    #[serde(skip)]
    pub(super) name: Cow<'static, str>,
    /// The name of the component, if the header means something else in other answers.
    #[serde(skip)]
    component: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    description: &'static str,
    schema: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Scalar>,
}

impl Header {
    /// A header that each of the answers has.
    pub(crate) fn required(name: impl Into<Cow<'static, str>>, description: &'static str, schema: Schema) -> Self {
        Self { name: name.into(), component: None, required: true, description, schema, example: None }
    }

    /// A header that only some of the answers have.
    pub(crate) fn optional(name: &'static str, description: &'static str, schema: Schema) -> Self {
        Self { required: false, ..Self::required(name, description, schema) }
    }

    /// A header whose value never changes.
    pub(crate) fn fixed(name: &HeaderName, value: &'static str) -> Self {
        Self::required(capitalised(name), "The same for every answer.", Schema::fixed(value))
    }

    pub(crate) fn example(self, example: impl Into<Cow<'static, str>>) -> Self {
        Self { example: Some(Scalar::Text(example.into())), ..self }
    }

    pub(crate) fn example_number(self, example: u64) -> Self {
        Self { example: Some(Scalar::Number(example)), ..self }
    }

    pub(crate) fn component(self, component: &'static str) -> Self {
        Self { component: Some(component), ..self }
    }

    pub(super) fn component_name(&self) -> &str {
        self.component.unwrap_or(&self.name)
    }
}

/// As people write it: `Cache-Control`.
fn capitalised(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| part[..1].to_ascii_uppercase() + &part[1..]);
    parts.collect::<Vec<_>>().join("-")
}
