//! Look-ups of rooms by external policy, as the Conferencing Nodes make them.

use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::check::Failure;
use super::room_format::is_configuration_of;
use super::rooms::{Room, RoomSource};
use super::service::{Answer, Service};
use super::test_case::INVALID_NAME;
use crate::cli::look_up::{LOOK_UP_PATH, look_up_query};
use crate::config::BasicAccount;

/// After this time a node uses its own database.
const NODES_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    service: &'a Service,
    account: &'a BasicAccount,
}

impl<'a> Policy<'a> {
    /// Without an account nothing is checked: policy may be off.
    pub(super) fn new(service: &'a Service, account: Option<&'a BasicAccount>) -> Result<Self, Failure> {
        let account = account.ok_or_else(|| Failure::not_checked("SMOKE_POLICY_USERNAME is not set"))?;
        Ok(Self { service, account })
    }

    pub(super) async fn without_account(self) -> Result<(), Failure> {
        let wrong_password = format!("{:032x}", rand::random::<u128>());
        let wrong = self.web_look_up(INVALID_NAME).basic_auth(&self.account.username, Some(wrong_password));
        for (request, code) in [(self.web_look_up(INVALID_NAME), "token_missing"), (wrong, "token_invalid")] {
            let answer = self.send(request).await?;
            self.service.expect_problem(&answer, 401, code).await?;
            let challenge = answer.header(&WWW_AUTHENTICATE);
            if answer.version().is_some() && challenge != "Basic realm=\"pexip-policy\"" {
                return Err(Failure::service("the challenge in WWW-Authenticate is wrong or missing"));
            }
        }
        Ok(())
    }

    /// Otherwise the service would refuse calls to rooms of others.
    pub(super) async fn foreign_alias(self) -> Result<(), Failure> {
        let decision = self.ask(self.web_look_up(INVALID_NAME)).await?;
        if is_bare(&decision, "continue") { Ok(()) } else { Err(Failure::service("the answer is not continue")) }
    }

    /// Nodes ask several times for one call, and compare the answers.
    pub(super) async fn room(self, room: &Room) -> Result<(), Failure> {
        require_instant(room)?;
        let sip = self.look_up(&format!("sip:{}@maxconf-smoke.invalid", room.name.to_uppercase()), "sip", "invite");
        let mut first = None;
        for request in [self.web_look_up(&room.name), self.web_look_up(&room.name), sip] {
            let decision = self.ask(request).await?;
            if !is_configuration_of(&room.body, &decision) {
                return Err(Failure::service("the answer is not success with the room's name, PINs and tag"));
            }
            if first.get_or_insert_with(|| decision.clone()) != &decision {
                return Err(Failure::service("two look-ups of the room have different answers"));
            }
        }
        Ok(())
    }

    pub(super) async fn deleted_room(self, room: &Room) -> Result<(), Failure> {
        require_instant(room)?;
        let decision = self.ask(self.web_look_up(&room.name)).await?;
        if is_bare(&decision, "reject") { Ok(()) } else { Err(Failure::service("the answer is not reject")) }
    }

    /// Sends a look-up with the account. Returns the decision.
    async fn ask(self, look_up: RequestBuilder) -> Result<Value, Failure> {
        let BasicAccount { username, password } = self.account;
        let answer = self.send(look_up.basic_auth(username, Some(password.expose_secret()))).await?;
        match (answer.status, answer.code()) {
            (200, _) => Ok(answer.body),
            (401, "token_invalid") => Err(Failure::unclear("the service refuses the account of SMOKE_POLICY_USERNAME")),
            _ => Err(self.service.diagnose(&answer, "200").await),
        }
    }

    async fn send(self, look_up: RequestBuilder) -> Result<Answer, Failure> {
        let answer = self.service.send(look_up).await?;
        if self.service.is_behind_gateway() && answer.version().is_none() && answer.status == 403 {
            let detail = "the gateway refuses look-ups from here (403); it may admit the Conferencing Nodes only";
            return Err(Failure::unclear(detail));
        }
        Ok(answer)
    }

    /// As for a join in a browser.
    fn web_look_up(self, alias: &str) -> RequestBuilder {
        self.look_up(alias, "api", "web")
    }

    /// A look-up without the account.
    fn look_up(self, alias: &str, protocol: &str, trigger: &str) -> RequestBuilder {
        let path: Vec<_> = LOOK_UP_PATH.split('/').collect();
        let query = look_up_query(alias, protocol, trigger);
        self.service.request(Method::GET, &path).query(&query).timeout(NODES_LIMIT)
    }
}

fn require_instant(room: &Room) -> Result<(), Failure> {
    match room.source {
        RoomSource::Instant => Ok(()),
        RoomSource::Pool | RoomSource::Direct => Err(Failure::not_checked("the room is no instant room")),
    }
}

/// Whether this is the decision, without a room.
fn is_bare(decision: &Value, action: &str) -> bool {
    decision["action"] == action && decision["result"].as_object().is_none_or(serde_json::Map::is_empty)
}
