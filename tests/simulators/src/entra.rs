//! Microsoft Entra ID: one tenant with one API, its clients, its tokens and its signing keys.

mod endpoints;
mod federation;
mod signing_key;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use serde_json::Value;
use url::Url;

use crate::simulator::{Simulator, System};

pub use signing_key::SigningKey;
pub use token::TokenBuilder;

/// The tenant of every simulator.
pub const TENANT_ID: &str = "aaaabbbb-0000-4ccc-8111-dddd2222eeee";

/// Azure Resource Manager: another API, for which every client can get a (v1.0) token.
pub const RESOURCE_MANAGER: &str = "https://management.azure.com";

/// Client id of the room API: the audience of its v2.0 tokens.
pub const API_CLIENT_ID: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// App ID URI of the room API: the audience of its v1.0 tokens.
pub const APP_ID_URI: &str = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// The initial client.
pub const CLIENT_ID: &str = "11111111-2222-4333-8444-555555555555";

/// Secret of the initial client.
pub const CLIENT_SECRET: &str = "idim-client-secret";

/// App roles of the initial client.
const CLIENT_ROLES: [&str; 3] = ["Room.Create", "Room.Delete", "Room.Read"];

/// An Entra tenant on loopback.
pub type EntraSimulator = Simulator<Tenant>;

/// Token version in the API's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `accessTokenAcceptedVersion` 1 or null.
    V1,
    /// `accessTokenAcceptedVersion` 2.
    V2,
}

/// State of a tenant.
#[derive(Debug)]
pub struct Tenant {
    /// Without a trailing slash; known once the server listens.
    authority: OnceLock<String>,
    directory: Mutex<Directory>,
}

#[derive(Debug)]
struct Directory {
    clients: Vec<Client>,
    keys: Vec<SigningKey>,
    keys_made: usize,
    raw_jwks: Option<String>,
    version: Version,
    callers_are_the_api: bool,
}

#[derive(Clone, Debug)]
struct Client {
    id: String,
    secret: String,
    roles: Vec<String>,
    /// Subject of the client's federated credential: GitHub jobs with it need no secret.
    trusted_subject: Option<String>,
}

impl EntraSimulator {
    /// Base of the discovery documents: the value of `ENTRA_AUTHORITY_URL`.
    pub fn authority_url(&self) -> Url {
        self.server.url()
    }

    /// The tenant, a GUID.
    pub fn tenant_id(&self) -> &'static str {
        TENANT_ID
    }

    /// Audience of v2.0 tokens for the room API.
    pub fn audience(&self) -> &'static str {
        API_CLIENT_ID
    }

    /// Audience of v1.0 tokens for the room API; start of the scope in a token request.
    pub fn app_id_uri(&self) -> &'static str {
        APP_ID_URI
    }

    /// Address of the token endpoint.
    pub fn token_url(&self) -> Url {
        self.authority_url().join(&format!("{TENANT_ID}/oauth2/v2.0/token")).expect("a tenant id is a path")
    }

    /// Adds a federated credential to a client: GitHub jobs with this subject need no secret.
    pub fn trust_github(&self, client_id: &str, subject: &str) {
        let mut directory = self.system.directory();
        for client in directory.clients.iter_mut().filter(|client| client.id == client_id) {
            client.trusted_subject = Some(subject.to_owned());
        }
    }

    /// Sets the version of issued tokens; v2.0 by default.
    pub fn issue_version(&self, version: Version) {
        self.system.directory().version = version;
    }

    /// Makes caller and API one registration from now on, without app roles: tokens of [`token`](Self::token) and the
    /// [`scope`](Self::scope) are for the initial client itself.
    pub fn make_callers_the_api(&self) {
        self.system.directory().callers_are_the_api = true;
    }

    /// Builds a token that is valid unless changed: v2.0, for the room API, of the initial client.
    pub fn token(&self) -> TokenBuilder {
        let client = Client::new(CLIENT_ID, CLIENT_SECRET, &CLIENT_ROLES);
        let token = TokenBuilder::new(self.system.authority(), &client, self.system.newest_key());
        let is_own = self.system.directory().callers_are_the_api;
        if is_own { token.own(CLIENT_ID) } else { token }
    }

    /// Scope that the initial client asks a token for.
    pub fn scope(&self) -> String {
        let is_own = self.system.directory().callers_are_the_api;
        if is_own { format!("api://{CLIENT_ID}/.default") } else { format!("{APP_ID_URI}/.default") }
    }

    /// The published keys, newest last.
    pub fn keys(&self) -> Vec<SigningKey> {
        self.system.directory().keys.clone()
    }

    /// Publishes another key beside the existing ones and signs with it from now on.
    pub fn rotate_key(&self) -> SigningKey {
        let mut directory = self.system.directory();
        let key = SigningKey::published(directory.keys_made);
        directory.keys_made += 1;
        directory.keys.push(key.clone());
        key
    }

    /// Stops publishing this key.
    pub fn remove_key(&self, kid: &str) {
        self.system.directory().keys.retain(|key| key.kid != kid);
    }

    /// Answers with this text for the key sets of both versions; `None` restores the real keys.
    pub fn publish_raw_jwks(&self, jwks: Option<String>) {
        self.system.directory().raw_jwks = jwks;
    }

    /// A key as in the v2.0 key set, for tests that assemble key sets.
    pub fn jwk_json(&self, key: &SigningKey) -> Value {
        key.jwk(Some(&self.system.issuer_template()))
    }
}

impl Default for Tenant {
    fn default() -> Self {
        let directory = Directory {
            clients: vec![Client::new(CLIENT_ID, CLIENT_SECRET, &CLIENT_ROLES)],
            keys: vec![SigningKey::published(0)],
            keys_made: 1,
            raw_jwks: None,
            version: Version::V2,
            callers_are_the_api: false,
        };
        Self { authority: OnceLock::new(), directory: Mutex::new(directory) }
    }
}

impl System for Tenant {
    fn router(self: &Arc<Self>) -> Router {
        endpoints::router(Arc::clone(self))
    }

    fn listens_at(&self, address: &Url) {
        self.authority.get_or_init(|| address.as_str().trim_end_matches('/').to_owned());
    }
}

impl Tenant {
    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empty only for a request between the start of listening and the setting of the address.
    fn authority(&self) -> &str {
        self.authority.get().map_or("", String::as_str)
    }

    /// Key sets are the same for all tenants: Entra publishes the braces literally.
    fn issuer_template(&self) -> String {
        format!("{}/{{tenantid}}/v2.0", self.authority())
    }

    /// If every key was removed, tokens are signed with an unpublished key.
    fn newest_key(&self) -> SigningKey {
        let newest = self.directory().keys.last().cloned();
        newest.unwrap_or_else(SigningKey::unpublished)
    }
}

impl Client {
    fn new(id: &str, secret: &str, roles: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            trusted_subject: None,
        }
    }
}
