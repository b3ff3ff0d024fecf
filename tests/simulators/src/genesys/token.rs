//! What a token stands for.

use std::time::Duration;

use super::{OAUTH_CLIENT_ID, ORGANIZATION_ID};
use crate::identifier::guid;

/// Everything that Genesys knows about a token; the default is an active agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesysToken {
    /// Organisation that the token acts in.
    pub organization_id: String,
    /// Organisation that the token comes from, if it is not the one it acts in.
    pub home_organization_id: Option<String>,
    /// OAuth client that the token was issued to, if Genesys names one.
    pub oauth_client_id: Option<String>,
    /// The user.
    pub user_id: String,
    /// State of the user: `active`, `inactive` or `deleted`.
    pub state: String,
    /// Whether the user is a partner's, cloned into this organisation.
    pub cloned_user: bool,
    /// After this long without use the token ends.
    pub idles_in: Option<Duration>,
    /// Members to leave out of the answers, `organization` as well as `OAuthClient.id`.
    pub omit: Vec<&'static str>,
}

impl Default for GenesysToken {
    fn default() -> Self {
        Self {
            organization_id: ORGANIZATION_ID.to_owned(),
            home_organization_id: None,
            oauth_client_id: Some(OAUTH_CLIENT_ID.to_owned()),
            user_id: guid(),
            state: "active".to_owned(),
            cloned_user: false,
            idles_in: None,
            omit: Vec::new(),
        }
    }
}

impl GenesysToken {
    /// Moves the token to another organisation.
    #[must_use]
    pub fn organization_id(mut self, id: impl Into<String>) -> Self {
        self.organization_id = id.into();
        self
    }

    /// Lets the token come from another organisation.
    #[must_use]
    pub fn home_organization_id(mut self, id: impl Into<String>) -> Self {
        self.home_organization_id = Some(id.into());
        self
    }

    /// Issues it to another OAuth client.
    #[must_use]
    pub fn oauth_client_id(mut self, id: impl Into<String>) -> Self {
        self.oauth_client_id = Some(id.into());
        self
    }

    /// Gives it to this user.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = id.into();
        self
    }

    /// Sets the state of the user.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = state.into();
        self
    }

    /// Makes the user a partner's.
    #[must_use]
    pub fn cloned_user(mut self) -> Self {
        self.cloned_user = true;
        self
    }

    /// Ends the token after this long without use.
    #[must_use]
    pub fn idles_in(mut self, after: Duration) -> Self {
        self.idles_in = Some(after);
        self
    }

    /// Leaves a member out of the answers.
    #[must_use]
    pub fn omit(mut self, member: &'static str) -> Self {
        self.omit.push(member);
        self
    }
}
