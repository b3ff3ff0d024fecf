//! Small schemas that are no Rust type: of headers and parameters.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

/// A schema of text or of a whole number; the default allows anything.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Schema {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<&'static str>,
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    constant: Option<Scalar>,
    #[serde(rename = "enum", skip_serializing_if = "<[_]>::is_empty")]
    values: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<u64>,
}

/// Text or a whole number.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Text(Cow<'static, str>),
    Number(u64),
}

impl Schema {
    pub(crate) fn any() -> Self {
        Self::default()
    }

    pub(crate) fn object() -> Self {
        Self { kind: Some("object"), ..Self::default() }
    }

    pub(crate) fn text() -> Self {
        Self { kind: Some("string"), ..Self::default() }
    }

    pub(crate) fn pattern(pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..Self::text() }
    }

    pub(crate) fn one_of(values: &'static [&'static str]) -> Self {
        Self { values, ..Self::text() }
    }

    pub(crate) fn fixed(text: impl Into<Cow<'static, str>>) -> Self {
        Self { constant: Some(Scalar::Text(text.into())), ..Self::text() }
    }

    pub(crate) fn fixed_number(number: u64) -> Self {
        Self { kind: Some("integer"), constant: Some(Scalar::Number(number)), ..Self::default() }
    }

    pub(crate) fn integer(minimum: u64, maximum: Option<u64>) -> Self {
        Self { kind: Some("integer"), minimum: Some(minimum), maximum, ..Self::default() }
    }
}

/// Refers to a component of the document.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reference {
    #[serde(rename = "$ref")]
    target: String,
}

impl Reference {
    /// The schema of a type.
    pub(super) fn schema<T: JsonSchema>() -> Self {
        Self { target: format!("#/components/schemas/{}", T::schema_name()) }
    }

    pub(super) fn header(component: &str) -> Self {
        Self { target: format!("#/components/headers/{component}") }
    }
}
