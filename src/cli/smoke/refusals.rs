//! Requests that the service must refuse. A room that it creates all the same is recorded, so that it is deleted.

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::check::Failure;
use super::rooms::Rooms;
use super::service::{Answer, GENESYS_TOKEN, Service, bearer};
use super::test_case::{INVALID_NAME, TagForm, TestCase, create};

/// `.invalid` never resolves (RFC 2606).
const FOREIGN_ORIGIN: &str = "https://maxconf-smoke.invalid";

const UNKNOWN_GENESYS_TOKEN: &str = "maxconf-smoke-unknown-token";

#[derive(Debug)]
pub(super) struct Refusals<'a> {
    service: &'a Service,
    /// `None` without a token, when no room could be deleted.
    rooms: Option<&'a Rooms>,
    tag_form: &'a TagForm,
}

impl<'a> Refusals<'a> {
    pub(super) fn new(service: &'a Service, rooms: Option<&'a Rooms>, tag_form: &'a TagForm) -> Self {
        Self { service, rooms, tag_form }
    }

    pub(super) async fn create_without_token(&self) -> Result<(), Failure> {
        self.refused_create(|create| create, "token_missing").await
    }

    pub(super) async fn create_with_invalid_token(&self, token: &SecretString) -> Result<(), Failure> {
        self.refused_create(|create| bearer(create, token), "token_invalid").await
    }

    pub(super) async fn delete_without_token(&self) -> Result<(), Failure> {
        self.expect_challenge(self.delete(), "token_missing", "maxconf").await
    }

    pub(super) async fn public_without_token(&self) -> Result<(), Failure> {
        self.expect_challenge(self.public(), "token_missing", "genesys").await
    }

    pub(super) async fn public_with_unknown_token(&self) -> Result<(), Failure> {
        let request = self.public().header(GENESYS_TOKEN, UNKNOWN_GENESYS_TOKEN);
        self.expect_challenge(request, "token_invalid", "genesys").await
    }

    pub(super) async fn foreign_origin(&self) -> Result<(), Failure> {
        for origin in [FOREIGN_ORIGIN, "null"] {
            for request in [self.preflight(), self.public()] {
                let answer = self.service.send(request.header(ORIGIN, origin)).await?;
                if answer.status >= 500 {
                    return Err(self.service.diagnose(&answer, "an answer without CORS headers").await);
                }
                if answer.has_cors_headers() {
                    return Err(Failure::service("a foreign origin gets CORS headers"));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn allowed_origin(&self, origin: &str) -> Result<(), Failure> {
        let preflight = self.service.send(self.preflight().header(ORIGIN, origin)).await?;
        if !(200..300).contains(&preflight.status) {
            return Err(self.service.diagnose(&preflight, "2xx to the widget's preflight").await);
        }
        let allowed = preflight.header(&ACCESS_CONTROL_ALLOW_HEADERS).to_ascii_lowercase();
        if !allowed.split(',').any(|name| name.trim() == GENESYS_TOKEN.as_str()) {
            return Err(Failure::service("the preflight does not allow x-auth-token"));
        }
        // Without CORS headers the widget cannot read an error, and takes it for an outage.
        let refusal = self.service.send(self.public().header(ORIGIN, origin)).await?;
        for (answer, what) in [(&preflight, "preflight"), (&refusal, "refusal")] {
            if answer.header(&ACCESS_CONTROL_ALLOW_ORIGIN) != origin {
                return Err(Failure::service(format!("the {what} does not allow the widget's origin")));
            }
            if !answer.header(&VARY).to_ascii_lowercase().contains("origin") {
                return Err(Failure::service(format!("the {what} does not vary by origin")));
            }
        }
        Ok(())
    }

    /// The Functions host answers 404 to an unsupported method itself.
    pub(super) async fn wrong_method(&self) -> Result<(), Failure> {
        let answer = self.service.send(self.service.request(Method::PUT, &["room", "create"])).await?;
        match (answer.status, answer.code()) {
            (405, "method_not_allowed") => Ok(()),
            (404, _) if answer.version().is_none() => Ok(()),
            _ => Err(self.service.diagnose(&answer, "405 method_not_allowed, or the host's 404").await),
        }
    }

    pub(super) async fn create_with_uui_data(
        &self,
        token: &SecretString,
        uui_data: Option<&str>,
        code: &str,
    ) -> Result<(), Failure> {
        let answer = self.service.send(bearer(create(self.service, uui_data), token)).await?;
        if let Some(rooms) = self.rooms {
            rooms.record(&answer, None);
        }
        self.service.expect_problem(&answer, 400, code).await
    }

    pub(super) async fn unknown_room(&self, token: &SecretString) -> Result<(), Failure> {
        let answer = self.service.send(bearer(self.delete(), token)).await?;
        self.service.expect_problem(&answer, 404, "room_not_found").await
    }

    /// A create in which everything but the token is right.
    async fn refused_create(
        &self,
        with_token: impl FnOnce(RequestBuilder) -> RequestBuilder,
        code: &str,
    ) -> Result<(), Failure> {
        let case = TestCase::new(self.tag_form);
        let answer = self.service.send(with_token(case.create(self.service))).await?;
        if let Some(rooms) = self.rooms {
            rooms.record(&answer, Some(&case));
        }
        self.check_challenge(&answer, code, "maxconf").await
    }

    async fn expect_challenge(&self, request: RequestBuilder, code: &str, realm: &str) -> Result<(), Failure> {
        self.check_challenge(&self.service.send(request).await?, code, realm).await
    }

    /// RFC 9110 §15.5.2: a 401 has a challenge. RFC 6750 §3: without a token the challenge names no error.
    async fn check_challenge(&self, answer: &Answer, code: &str, realm: &str) -> Result<(), Failure> {
        self.service.expect_problem(answer, 401, code).await?;
        if answer.version().is_none() {
            return Ok(());
        }
        let challenge = answer.header(&WWW_AUTHENTICATE);
        let is_right = challenge.starts_with(&format!("Bearer realm=\"{realm}\""))
            && challenge.contains("error=") == (code == "token_invalid");
        if is_right { Ok(()) } else { Err(Failure::service("the challenge in WWW-Authenticate is wrong or missing")) }
    }

    fn delete(&self) -> RequestBuilder {
        self.service.request(Method::DELETE, &["room", INVALID_NAME])
    }

    fn public(&self) -> RequestBuilder {
        self.service.request(Method::GET, &["public", "room", INVALID_NAME])
    }

    fn preflight(&self) -> RequestBuilder {
        self.service
            .request(Method::OPTIONS, &["public", "room", INVALID_NAME])
            .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, GENESYS_TOKEN.as_str())
    }
}

/// The token with another signature of the right form.
pub(super) fn altered(token: &SecretString) -> SecretString {
    let token = token.expose_secret();
    let (signed, signature) = token.rsplit_once('.').unwrap_or(("", token));
    // Not the last character, of which some bits may be padding.
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", signature.get(1..).unwrap_or_default()).into()
}
