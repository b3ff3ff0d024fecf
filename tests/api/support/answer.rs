use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::Value;

/// What a caller got.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.expect("a body that can be read"),
        }
    }

    /// The header's value; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a printable header"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The room's name in a `ConstrainedConference`.
    pub(crate) fn room(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()["name"].as_str().expect("a name").to_owned()
    }

    /// Asserts that this is a problem of this status and code, in the agreed form. Returns it.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        let kind = format!("https://docs.maxconf.ca/problems/{}", code.replace('_', "-"));
        assert_eq!(problem["type"], kind.as_str(), "{self:?}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{self:?}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        // A 409, 429 or 503 without it sends every caller back at once, a 401 without it breaks RFC 9110 §15.5.2.
        assert_eq!([409, 429, 503].contains(&status), !self.header("retry-after").is_empty(), "{self:?}");
        let challenge = self.header("www-authenticate");
        assert!(status == 403 || (status == 401) == challenge.contains(" realm="), "{self:?}");
        problem
    }
}
