//! Genesys Cloud: opaque user tokens and the two calls that tell whose they are.

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

/// Organisation of tokens that name no other.
pub const ORGANIZATION_ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// OAuth client of tokens that name no other: the agents' widget.
pub const OAUTH_CLIENT_ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// The platform API of a Genesys Cloud region on loopback; without tokens at first.
pub type GenesysSimulator = Simulator<Region>;

/// What a region knows.
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
    /// Address of the platform API, as `GENESYS_API_URL` takes it.
    pub fn api_url(&self) -> Url {
        self.server.url()
    }

    /// The organisation that tokens belong to unless they name another.
    pub fn organization_id(&self) -> &'static str {
        ORGANIZATION_ID
    }

    /// The OAuth client that tokens were issued to unless they name another.
    pub fn oauth_client_id(&self) -> &'static str {
        OAUTH_CLIENT_ID
    }

    /// A token of an active agent of the organisation, issued to the agents' widget.
    pub fn issue_token(&self) -> String {
        self.issue(GenesysToken::default())
    }

    /// A token about which Genesys will say exactly this.
    pub fn issue(&self, token: GenesysToken) -> String {
        let text = BASE64_URL_SAFE_NO_PAD.encode(random::<48>());
        let issued = Issued { token, used_at: Instant::now(), idle_timer_resets: 0 };
        self.system.tokens().insert(text.clone(), issued);
        text
    }

    /// Ends a token; from now on it is not known.
    pub fn revoke(&self, token: &str) {
        self.system.tokens().remove(token);
    }

    /// How often `tokens/me` was asked about this token without `preserveIdleTTL=true`, which keeps an idle desktop alive.
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
