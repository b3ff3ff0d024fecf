//! The tokens whose signatures have been verified.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::jws::UnverifiedJws;
use super::key_set::SigningKey;
use super::refusal::TokenFault;
use crate::domain::HashKey;

/// Tokens that are remembered. A client of ours uses one for an hour; made-up ones are never among them.
const MAX_TOKENS: u64 = 1024;

/// How long a token that nobody sends is remembered.
const IDLE_TIME: Duration = Duration::from_secs(3600);

/// Verifies each token's signature once, because verifying RS256 is a quarter of the work of a create. What depends
/// on the time or on settings is checked for each request.
pub(super) struct Signatures {
    /// The cache holds hashes, so that a memory dump shows no token.
    hash_key: HashKey,
    /// Tokens by the key that has signed them. A key that Entra lists no more is never asked for, and one that is read
    /// again is another key.
    verified: Cache<[u8; 32], Arc<SigningKey>>,
}

impl Signatures {
    pub(super) fn new() -> Self {
        let verified = Cache::builder().max_capacity(MAX_TOKENS).time_to_idle(IDLE_TIME).build();
        Self { hash_key: HashKey::random(), verified }
    }

    /// The payload of the token `text`, if this key has signed it.
    pub(super) async fn verified_payload(
        &self,
        text: &str,
        token: UnverifiedJws<'_>,
        key: &Arc<SigningKey>,
    ) -> Result<Vec<u8>, TokenFault> {
        let hash = self.hash_key.hash(text.as_bytes());
        if self.verified.get(&hash).await.is_some_and(|by| Arc::ptr_eq(&by, key)) {
            return Ok(token.payload_verified_before());
        }
        let payload = token.verified_payload(key)?;
        self.verified.insert(hash, Arc::clone(key)).await;
        Ok(payload)
    }
}
