//! Who is calling. What the guards in `routes` leave in a request proves it: [`EntraCaller`], [`GenesysCaller`] or [`EventSender`].
//!
//! Knows nothing of rooms. The values can be made in here only, so a route mounted without its guard can but refuse.

mod bearer;
pub mod caller_rates;
mod client_address;
mod entra;
mod entra_claims;
mod entra_key_set;
mod entra_key_source;
mod entra_keys;
mod event_sink;
mod genesys;
mod genesys_api;
mod genesys_verdicts;
mod jws;
mod lookup_rate;

pub use bearer::{GENESYS_TOKEN, InvalidCredentials, entra_bearer, genesys_token};
pub use client_address::client_address;
pub use entra::{EntraCaller, EntraClient, EntraRefusal, EntraVerifier};
pub use entra_claims::TokenVersion;
pub use entra_key_set::{SigningKey, usable_keys};
pub use entra_key_source::{EntraKeysError, published_keys};
pub use event_sink::{EventSender, EventSinkAccount};
pub use genesys::{GenesysCaller, GenesysRefusal, GenesysVerifier};
pub use genesys_api::{GenesysFailure, find_genesys};
pub use jws::UnverifiedJws;

/// Why a guard lets nobody through, in fixed words: a label.
pub trait Reason {
    fn reason(&self) -> &'static str;
}
