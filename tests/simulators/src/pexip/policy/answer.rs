//! The answer of a policy server, and what a Conferencing Node does about it. No error ever reaches the server.

use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;

use super::service_configuration;
use crate::pexip::policy_server::PolicyServer;
use crate::pexip::service::Service;

const PATH: &str = "policy/v1/service/configuration";

/// What a look-up decides.
#[derive(Debug)]
pub(super) enum Decision {
    Success(Service),
    Reject,
    /// The node goes on as if there were no policy server.
    Default,
}

/// One look-up at a policy server.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) server: PolicyServer,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) basic_after_challenge: bool,
    pub(super) rules: Rules,
}

/// How answers are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) reads_bodies_of_errors: bool,
    pub(super) accepts_empty_pins: bool,
}

impl Question {
    /// Asks once, without following redirects. The error is the reason for the default.
    pub(super) async fn ask(&self, http: &Client) -> Result<Decision, String> {
        let request = || http.get(self.address()).query(&self.query);
        let mut answer = if self.basic_after_challenge || self.server.username.is_empty() {
            send(request()).await?
        } else {
            send(self.with_account(request())).await?
        };
        if self.basic_after_challenge && is_basic_challenge(&answer) {
            answer = send(self.with_account(request())).await?;
        }
        let is_json = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.split(';').next() == Some("application/json")));
        let status = answer.status();
        if !is_json || (status != StatusCode::OK && !self.rules.reads_bodies_of_errors) {
            return Err(format!("status {status}, JSON: {is_json}"));
        }
        let body: Value = answer.json().await.map_err(|_| "not JSON".to_owned())?;
        decide(&body, status, self.rules)
    }

    /// The profile's URL may have a path of its own.
    fn address(&self) -> String {
        format!("{}/{PATH}", self.server.url.as_str().trim_end_matches('/'))
    }

    fn with_account(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.server.username, Some(&self.server.password))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, String> {
    request.send().await.map_err(|error| format!("no answer: {error}"))
}

fn is_basic_challenge(answer: &Response) -> bool {
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    answer.status() == StatusCode::UNAUTHORIZED && challenge.is_some_and(|challenge| challenge.starts_with("Basic "))
}

/// With a valid result the action does not matter. An invalid one is as if it were not there.
fn decide(body: &Value, status: StatusCode, rules: Rules) -> Result<Decision, String> {
    let mut fault = None;
    if status == StatusCode::OK && body["status"] == "success" && !body["result"].is_null() {
        match service_configuration::read(&body["result"], rules.accepts_empty_pins) {
            Ok(service) => return Ok(Decision::Success(service)),
            Err(invalid) => fault = Some(invalid),
        }
    }
    match (body["action"].as_str(), fault) {
        (Some("reject"), _) => Ok(Decision::Reject),
        (_, Some(fault)) => Err(fault),
        (Some("continue"), None) => Ok(Decision::Default),
        // Newer releases know `redirect` as well, which the service does not use.
        (_, None) => Err("neither a result nor an action".to_owned()),
    }
}
