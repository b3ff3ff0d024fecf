//! Genesys Cloud: opaque user tokens and the two calls that look them up.

mod endpoints;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use url::Url;

use crate::identifier::random;
use crate::simulator::{Simulator, System};

pub use token::GenesysToken;

/// Default organisation of tokens.
pub const ORGANIZATION_ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// Default OAuth client of tokens: the agents' widget.
pub const OAUTH_CLIENT_ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// Default division of users.
pub const DIVISION_ID: &str = "d3f2a1b0-1111-4a2b-8c3d-4e5f6a7b8c9d";

/// The platform API of a Genesys Cloud region on loopback. It starts without tokens.
pub type GenesysSimulator = Simulator<Region>;

/// State of a region.
#[derive(Debug, Default)]
pub struct Region {
    tokens: Mutex<HashMap<String, Issued>>,
}

#[derive(Clone, Debug)]
struct Issued {
    token: GenesysToken,
    used_at: Instant,
    idle_timer_resets: usize,
}

impl GenesysSimulator {
    /// Address of the platform API: the value of `GENESYS_API_URL`.
    pub fn api_url(&self) -> Url {
        self.server.url()
    }

    /// Default division of users.
    pub fn division_id(&self) -> &'static str {
        DIVISION_ID
    }

    /// Default organisation of tokens.
    pub fn organization_id(&self) -> &'static str {
        ORGANIZATION_ID
    }

    /// Default OAuth client of tokens.
    pub fn oauth_client_id(&self) -> &'static str {
        OAUTH_CLIENT_ID
    }

    /// A token of an active agent of the organisation, issued to the agents' widget.
    pub fn issue_token(&self) -> String {
        self.issue(GenesysToken::default())
    }

    /// Adds a token with these properties and returns it.
    pub fn issue(&self, token: GenesysToken) -> String {
        let text = BASE64_URL_SAFE_NO_PAD.encode(random::<48>());
        let issued = Issued { token, used_at: Instant::now(), idle_timer_resets: 0 };
        self.system.tokens().insert(text.clone(), issued);
        text
    }

    /// Invalidates a token.
    pub fn revoke(&self, token: &str) {
        self.system.tokens().remove(token);
    }

    /// Number of `tokens/me` calls for this token without `preserveIdleTTL=true`; each would extend an idle session.
    pub fn idle_timer_resets(&self, token: &str) -> usize {
        let tokens = self.system.tokens();
        tokens.get(token).map_or(0, |issued| issued.idle_timer_resets)
    }
}

impl System for Region {
    fn router(self: &Arc<Self>) -> Router {
        endpoints::router(Arc::clone(self))
    }
}

impl Region {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Issued>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
