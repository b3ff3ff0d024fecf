//! Headers of answers.

use std::borrow::Cow;

use axum::http::header::HeaderName;
use serde_json::{Value, json};

/// A header, declared beside the code that sets it.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(super) name: Cow<'static, str>,
    /// The name of the component, if the header means something else in other answers.
    component: Option<&'static str>,
    /// The Header Object.
    pub(super) object: Value,
}

impl Header {
    /// A header that each of the answers has.
    pub(crate) fn required(name: impl Into<Cow<'static, str>>, description: &str, schema: &Value) -> Self {
        let object = json!({ "required": true, "description": description, "schema": schema });
        Self { name: name.into(), component: None, object }
    }

    /// A header that only some of the answers have.
    pub(crate) fn optional(name: &'static str, description: &str, schema: &Value) -> Self {
        let object = json!({ "description": description, "schema": schema });
        Self { name: name.into(), component: None, object }
    }

    /// A header whose value never changes.
    pub(crate) fn fixed(name: &HeaderName, value: &str) -> Self {
        let schema = json!({ "type": "string", "const": value });
        Self::required(capitalised(name), "The same for every answer.", &schema)
    }

    pub(crate) fn example(mut self, example: impl Into<Value>) -> Self {
        self.object["example"] = example.into();
        self
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
