//! Authenticates callers: Entra clients, Genesys users and Conferencing Nodes. Knows nothing about rooms.

mod client_address;
mod credentials;
mod entra;
mod genesys;
mod node_account;
mod rate;
mod reason;

pub use client_address::client_address;
pub use credentials::{GENESYS_TOKEN, InvalidCredentials, entra_bearer, genesys_token};
pub use entra::{
    EntraClient, EntraKeysError, EntraRefusal, EntraVerifier, PermissionFault, SigningKey, TokenFault, TokenVersion,
    UnverifiedJws, published_keys, usable_keys,
};
pub use genesys::{GenesysCaller, GenesysFailure, GenesysRefusal, GenesysVerifier, UserFault, find_genesys};
pub use node_account::NodeAccount;
pub use rate::{KeyedRateLimiter, OverRate};
pub use reason::Reason;

/// The rate of each caller, by [`id`](crate::telemetry::audit::Caller::id).
pub type CallerRates = KeyedRateLimiter<String>;
