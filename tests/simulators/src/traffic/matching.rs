//! Conditions on exchanges, for faults and for counting.

use axum::http::Method;

use super::Exchange;

/// Conditions on a request; all that are set must hold.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    method: Option<Method>,
    path: Vec<String>,
    query: Vec<String>,
}

impl Matching {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this method.
    #[must_use]
    pub fn method(method: Method) -> Self {
        Self { method: Some(method), ..Self::default() }
    }

    /// Only requests with this text in their path.
    #[must_use]
    pub fn path_contains(mut self, text: impl Into<String>) -> Self {
        self.path.push(text.into());
        self
    }

    /// Only requests with this text in their undecoded query.
    #[must_use]
    pub fn query_contains(mut self, text: impl Into<String>) -> Self {
        self.query.push(text.into());
        self
    }

    pub(super) fn matches(&self, exchange: &Exchange) -> bool {
        self.method.as_ref().is_none_or(|method| *method == exchange.method)
            && self.path.iter().all(|text| exchange.path.contains(text))
            && self.query.iter().all(|text| exchange.query.contains(text))
    }
}
