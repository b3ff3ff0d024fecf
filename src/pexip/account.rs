//! What calls to the management node are authorised with.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::admission::Admission;
use super::oauth2::{NoToken, OAuth2, Token};
use crate::config::PexipAccount;
use crate::domain::{Clock, named_enum};

named_enum! {
    /// How the service authenticates at the node.
    pub enum Authentication {
        Basic = "Basic authentication",
        OAuth2 = "OAuth2",
    }
}

/// The service's account at the node.
pub(super) enum Account {
    Basic { username: String, password: SecretString },
    OAuth2(Arc<OAuth2>),
}

/// What one request is authorised with.
pub(super) enum Credentials<'a> {
    Basic { username: &'a str, password: &'a SecretString },
    Token { token: Token, oauth2: &'a Arc<OAuth2> },
}

impl Account {
    /// Makes no call.
    pub(super) fn new(
        account: &PexipAccount,
        node: &Url,
        http: &reqwest::Client,
        request_timeout: Duration,
        clock: Clock,
        admission: &Arc<Admission>,
    ) -> Self {
        match account.clone() {
            PexipAccount::Basic { username, password } => Self::Basic { username, password },
            PexipAccount::OAuth2 { client_id, key } => {
                let (http, admission) = (http.clone(), Arc::clone(admission));
                let oauth2 = OAuth2::new(client_id, key, node, http, request_timeout, clock, admission);
                Self::OAuth2(Arc::new(oauth2))
            }
        }
    }

    pub(super) fn authentication(&self) -> Authentication {
        match self {
            Self::Basic { .. } => Authentication::Basic,
            Self::OAuth2(_) => Authentication::OAuth2,
        }
    }

    /// The credentials for a request. Waits for a token only if there is none.
    pub(super) async fn credentials(&self) -> Result<Credentials<'_>, NoToken> {
        match self {
            Self::Basic { username, password } => Ok(Credentials::Basic { username, password }),
            Self::OAuth2(oauth2) => Ok(Credentials::Token { token: Box::pin(oauth2.token()).await?, oauth2 }),
        }
    }
}

impl Credentials<'_> {
    pub(super) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { username, password } => request.basic_auth(username, Some(password.expose_secret())),
            Self::Token { token, .. } => token.authorize(request),
        }
    }

    /// Whether a new token may help after a 401.
    pub(super) fn may_be_replaced(&self) -> bool {
        match self {
            Self::Basic { .. } => false,
            Self::Token { token, oauth2 } => oauth2.may_replace(token),
        }
    }
}
