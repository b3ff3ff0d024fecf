//! How Conferencing Nodes authenticate: a Basic account for the event sink, another for external policy.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::ExposeSecret;

use super::InvalidCredentials;
use crate::config::BasicAccount;

/// An account that Conferencing Nodes authenticate with: HTTP Basic (RFC 7617). Kept as a hash.
#[derive(Clone)]
pub struct NodeAccount(digest::Digest);

impl NodeAccount {
    /// The account in the settings.
    pub fn new(account: &BasicAccount) -> Self {
        let BasicAccount { username, password } = account;
        Self(digest(&SHA256, format!("{username}:{}", password.expose_secret()).as_bytes()))
    }

    /// Checks the credentials of a request. Hashes are compared in constant time, so that the time discloses neither
    /// the password nor its length.
    pub fn verify(&self, headers: &HeaderMap) -> Result<(), InvalidCredentials> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(InvalidCredentials::Missing)?.as_bytes();
        if values.next().is_some() {
            return Err(InvalidCredentials::Repeated);
        }
        let (scheme, credentials) = value.split_at_checked(6).ok_or(InvalidCredentials::Missing)?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return Err(InvalidCredentials::Missing);
        }
        let credentials = STANDARD.decode(credentials.trim_ascii()).map_err(|_| InvalidCredentials::Malformed)?;
        verify_slices_are_equal(self.0.as_ref(), digest(&SHA256, &credentials).as_ref())
            .map_err(|_| InvalidCredentials::Wrong)
    }
}

impl std::fmt::Debug for NodeAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NodeAccount")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_is_not_malformed() {
        let account = NodeAccount(digest(&SHA256, b"node:secret"));
        let verify = |credentials: &str| {
            let value = format!("Basic {credentials}").parse().expect("a header value");
            account.verify(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
        };
        assert_eq!(verify(&STANDARD.encode("node:secret")), Ok(()));
        assert_eq!(verify(&STANDARD.encode("node:secreT")), Err(InvalidCredentials::Wrong));
        assert_eq!(verify(&STANDARD.encode("other:secret")), Err(InvalidCredentials::Wrong));
        assert_eq!(verify("%%%"), Err(InvalidCredentials::Malformed));
    }
}
