//! What must be refused. None of these requests may touch a room; one that was made all the same is not forgotten.

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HeaderValue, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::check::Finding;
use super::rooms::{CaseOfTest, NOBODYS_ROOM, Rooms};
use super::service::{Answer, GENESYS_TOKEN, Service};

/// A page that nobody serves: `.invalid` never resolves (RFC 2606).
const FOREIGN_ORIGIN: &str = "https://maxconf-smoke.invalid";

/// Genesys knows no such token.
const UNKNOWN_GENESYS_TOKEN: &str = "maxconf-smoke-unknown-token";

/// Its length in bytes is one over what is taken.
const BYTES_TOO_MANY: usize = 129;

/// The requests that are refused, each as its caller would send it.
#[derive(Debug)]
pub(super) struct Refusals<'a> {
    service: &'a Service,
    /// `None` where there is no token, with which nothing could be deleted.
    rooms: Option<&'a Rooms>,
}

impl<'a> Refusals<'a> {
    pub(super) fn of(service: &'a Service, rooms: Option<&'a Rooms>) -> Self {
        Self { service, rooms }
    }

    pub(super) async fn create_without_token(&self) -> Result<(), Finding> {
        self.refused_caller(|create| create, "token_missing").await
    }

    pub(super) async fn delete_without_token(&self) -> Result<(), Finding> {
        let answer = self.service.send(self.delete()).await?;
        self.expect_challenge(&answer, "token_missing", "maxconf").await
    }

    /// A token that does not permit it, for whatever reason.
    pub(super) async fn create_with_refused_token(&self, token: &SecretString) -> Result<(), Finding> {
        self.refused_caller(|create| bearer(create, token), "token_invalid").await
    }

    pub(super) async fn public_without_token(&self) -> Result<(), Finding> {
        let answer = self.service.send(self.public()).await?;
        self.expect_challenge(&answer, "token_missing", "genesys").await
    }

    pub(super) async fn public_with_unknown_token(&self) -> Result<(), Finding> {
        let answer = self.service.send(self.public().header(GENESYS_TOKEN, UNKNOWN_GENESYS_TOKEN)).await?;
        self.expect_challenge(&answer, "token_invalid", "genesys").await
    }

    pub(super) async fn foreign_origin(&self) -> Result<(), Finding> {
        for origin in [FOREIGN_ORIGIN, "null"] {
            for request in [self.preflight(), self.public()] {
                let answer = self.service.send(request.header(ORIGIN, origin)).await?;
                if answer.status >= 500 {
                    return Err(self.service.judge(&answer, "an answer without CORS headers").await);
                }
                if answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")) {
                    return Err(Finding::ours("a foreign origin is given CORS headers"));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn allowed_origin(&self, origin: &str) -> Result<(), Finding> {
        let preflight = self.service.send(self.preflight().header(ORIGIN, origin)).await?;
        if !(200..300).contains(&preflight.status) {
            return Err(self.service.judge(&preflight, "2xx to the widget's preflight").await);
        }
        let allowed = preflight.header(&ACCESS_CONTROL_ALLOW_HEADERS).to_ascii_lowercase();
        if !allowed.split(',').any(|name| name.trim() == GENESYS_TOKEN.as_str()) {
            return Err(Finding::ours("the preflight does not allow x-auth-token"));
        }
        // An error that the widget cannot read looks to it like an outage.
        let refusal = self.service.send(self.public().header(ORIGIN, origin)).await?;
        for (answer, what) in [(&preflight, "preflight"), (&refusal, "refusal")] {
            if answer.header(&ACCESS_CONTROL_ALLOW_ORIGIN) != origin {
                return Err(Finding::ours(format!("the {what} does not allow the widget's origin")));
            }
            if !answer.header(&VARY).to_ascii_lowercase().contains("origin") {
                return Err(Finding::ours(format!("the {what} does not vary by origin")));
            }
        }
        Ok(())
    }

    /// The Functions host knows the methods as well, and has no 405.
    pub(super) async fn wrong_method(&self) -> Result<(), Finding> {
        let answer = self.service.send(self.service.request(Method::PUT, &["room", "create"])).await?;
        match (answer.status, answer.code()) {
            (405, "method_not_allowed") => Ok(()),
            (404, _) if answer.version().is_none() => Ok(()),
            _ => Err(self.service.judge(&answer, "405 method_not_allowed, or the host's 404").await),
        }
    }

    pub(super) async fn uui_data_missing(&self, token: &SecretString) -> Result<(), Finding> {
        self.refused_create(token, None, "uui_data_missing").await
    }

    pub(super) async fn uui_data_invalid(&self, token: &SecretString) -> Result<(), Finding> {
        self.refused_create(token, Some("maxconf-smoke-no-hexadecimal"), "uui_data_invalid").await
    }

    pub(super) async fn uui_data_too_long(&self, token: &SecretString) -> Result<(), Finding> {
        self.refused_create(token, Some(&"5a".repeat(BYTES_TOO_MANY)), "uui_data_too_long").await
    }

    pub(super) async fn unknown_room(&self, token: &SecretString) -> Result<(), Finding> {
        let answer = self.service.send(bearer(self.delete(), token)).await?;
        self.service.expect_problem(&answer, 404, "room_not_found").await
    }

    /// A create of which everything is right, but for the token that it is given.
    async fn refused_caller(
        &self,
        with_token: impl FnOnce(RequestBuilder) -> RequestBuilder,
        code: &str,
    ) -> Result<(), Finding> {
        let case = CaseOfTest::new();
        let answer = self.service.send(with_token(case.create(self.service))).await?;
        if let Some(rooms) = self.rooms {
            rooms.keep(&answer, Some(&case));
        }
        self.expect_challenge(&answer, code, "maxconf").await
    }

    async fn refused_create(&self, token: &SecretString, uui_data: Option<&str>, code: &str) -> Result<(), Finding> {
        let query: Vec<_> = uui_data.map(|value| ("uuiData", value)).into_iter().collect();
        let request = self.service.request(Method::POST, &["room", "create"]).query(&query);
        let answer = self.service.send(bearer(request, token)).await?;
        if let Some(rooms) = self.rooms {
            rooms.keep(&answer, None);
        }
        self.service.expect_problem(&answer, 400, code).await
    }

    /// RFC 9110 §15.5.2: a 401 says how to do better. RFC 6750 §3: without a token it names no error.
    async fn expect_challenge(&self, answer: &Answer, code: &str, realm: &str) -> Result<(), Finding> {
        self.service.expect_problem(answer, 401, code).await?;
        if answer.version().is_none() {
            return Ok(());
        }
        let challenge = answer.header(&WWW_AUTHENTICATE);
        let right = challenge.starts_with(&format!("Bearer realm=\"{realm}\""))
            && challenge.contains("error=") == (code == "token_invalid");
        if right { Ok(()) } else { Err(Finding::ours("the challenge in WWW-Authenticate is not as it should be")) }
    }

    fn delete(&self) -> RequestBuilder {
        self.service.request(Method::DELETE, &["room", NOBODYS_ROOM])
    }

    fn public(&self) -> RequestBuilder {
        self.service.request(Method::GET, &["public", "room", NOBODYS_ROOM])
    }

    fn preflight(&self) -> RequestBuilder {
        self.service
            .request(Method::OPTIONS, &["public", "room", NOBODYS_ROOM])
            .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, GENESYS_TOKEN.as_str())
    }
}

/// The same token, with another signature of the right form.
pub(super) fn altered(token: &SecretString) -> SecretString {
    let token = token.expose_secret();
    let (signed, signature) = token.rsplit_once('.').unwrap_or(("", token));
    // The first character: of the last one some bits may stand for nothing.
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", signature.get(1..).unwrap_or_default()).into()
}

/// `request` with the token of an Entra application.
pub(super) fn bearer(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    request.header(AUTHORIZATION, secret_header(&format!("Bearer {}", token.expose_secret())))
}

/// A header that nothing prints. Empty where the value cannot be sent, which the service refuses.
pub(super) fn secret_header(value: &str) -> HeaderValue {
    let mut header = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}
