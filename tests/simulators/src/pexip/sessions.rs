//! Tokens of the client API.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use time::OffsetDateTime;

use super::live::Role;
use crate::identifier::random;

/// Lifetime of a token.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(120);

/// Reason for disconnecting a participant whose token was not refreshed in time.
pub(super) const TIMED_OUT: &str = "Timer expired awaiting token refresh";

/// Participants who have joined by the client API, by token.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_token: HashMap<String, Session>,
}

/// Data of a token.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) participant: String,
    pub(super) role: Role,
    /// Address of the node that has issued the token. Other nodes refuse it.
    pub(super) node: String,
    /// The alias that was dialled.
    pub(super) alias: String,
    /// Whether the client is to send its media to another one directly.
    pub(super) has_direct_media: bool,
    expires: OffsetDateTime,
}

impl Session {
    pub(super) fn new(participant: String, role: Role, node: &str, alias: &str, now: OffsetDateTime) -> Self {
        let (node, alias) = (node.to_owned(), alias.to_owned());
        Self { participant, role, node, alias, has_direct_media: false, expires: now + TOKEN_LIFETIME }
    }
}

impl Sessions {
    /// Returns the token.
    pub(super) fn open(&mut self, session: Session) -> String {
        let token = BASE64_URL_SAFE.encode(random::<24>());
        self.by_token.insert(token.clone(), session);
        token
    }

    pub(super) fn get(&self, token: &str) -> Option<&Session> {
        self.by_token.get(token)
    }

    /// Notes that the client has been told to use direct media.
    pub(super) fn use_direct_media(&mut self, token: &str) {
        if let Some(session) = self.by_token.get_mut(token) {
            session.has_direct_media = true;
        }
    }

    /// Replaces the session's token and returns the new one.
    pub(super) fn refresh(&mut self, token: &str, now: OffsetDateTime) -> Option<String> {
        let session = self.close(token)?;
        Some(self.open(Session { expires: now + TOKEN_LIFETIME, ..session }))
    }

    pub(super) fn close(&mut self, token: &str) -> Option<Session> {
        self.by_token.remove(token)
    }

    /// When the next token expires.
    pub(super) fn next_expiry(&self) -> Option<OffsetDateTime> {
        self.by_token.values().map(|session| session.expires).min()
    }

    /// Closes the sessions whose tokens were not refreshed in time and returns their participants.
    pub(super) fn expired(&mut self, now: OffsetDateTime) -> Vec<String> {
        let expired = self.by_token.extract_if(|_, session| session.expires <= now);
        expired.map(|(_, session)| session.participant).collect()
    }
}
