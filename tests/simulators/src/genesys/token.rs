//! Properties of a token.

use std::time::Duration;

use super::{DIVISION_ID, OAUTH_CLIENT_ID, ORGANIZATION_ID};
use crate::identifier::guid;

/// Properties of a token; the default is an active agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesysToken {
    /// Organisation that the token acts in.
    pub organization_id: String,
    /// The token's home organisation, if it differs from the one that it acts in.
    pub home_organization_id: Option<String>,
    /// OAuth client that the token was issued to; `None` if Genesys names none.
    pub oauth_client_id: Option<String>,
    /// The user.
    pub user_id: String,
    /// Division of the user.
    pub division_id: String,
    /// State of the user: `active`, `inactive` or `deleted`.
    pub state: String,
    /// Whether the user is a partner's, cloned into this organisation.
    pub cloned_user: bool,
    /// Whether it was issued to a client for itself (client credentials): then it is no user's.
    pub client_credentials: bool,
    /// Idle time after which the token ends.
    pub idles_in: Option<Duration>,
    /// Members to omit from the answers, such as `organization` or `OAuthClient.id`.
    pub omit: Vec<&'static str>,
}

impl Default for GenesysToken {
    fn default() -> Self {
        Self {
            organization_id: ORGANIZATION_ID.to_owned(),
            home_organization_id: None,
            oauth_client_id: Some(OAUTH_CLIENT_ID.to_owned()),
            user_id: guid(),
            division_id: DIVISION_ID.to_owned(),
            state: "active".to_owned(),
            cloned_user: false,
            client_credentials: false,
            idles_in: None,
            omit: Vec::new(),
        }
    }
}

impl GenesysToken {
    /// Sets the organisation that the token acts in.
    #[must_use]
    pub fn organization_id(mut self, id: impl Into<String>) -> Self {
        self.organization_id = id.into();
        self
    }

    /// Sets the home organisation.
    #[must_use]
    pub fn home_organization_id(mut self, id: impl Into<String>) -> Self {
        self.home_organization_id = Some(id.into());
        self
    }

    /// Sets the OAuth client.
    #[must_use]
    pub fn oauth_client_id(mut self, id: impl Into<String>) -> Self {
        self.oauth_client_id = Some(id.into());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = id.into();
        self
    }

    /// Moves the user to another division.
    #[must_use]
    pub fn division_id(mut self, id: impl Into<String>) -> Self {
        self.division_id = id.into();
        self
    }

    /// Sets the state of the user.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = state.into();
        self
    }

    /// Marks the user as a partner's.
    #[must_use]
    pub fn cloned_user(mut self) -> Self {
        self.cloned_user = true;
        self
    }

    /// Makes it a client's own.
    #[must_use]
    pub fn client_credentials(mut self) -> Self {
        self.client_credentials = true;
        self
    }

    /// Sets the idle time after which the token ends.
    #[must_use]
    pub fn idles_in(mut self, after: Duration) -> Self {
        self.idles_in = Some(after);
        self
    }

    /// Omits a member from the answers.
    #[must_use]
    pub fn omit(mut self, member: &'static str) -> Self {
        self.omit.push(member);
        self
    }
}
