//! Why an Entra token does not permit a request.

use std::time::Duration;

use super::EntraClient;
use crate::auth::reason::{Reason, reasons};

reasons! {
    /// Why a token is not valid here.
    TokenFault {
        Segments = "segments", "the token does not have three segments";
        Header = "header", "the header cannot be read";
        Algorithm = "algorithm", "alg is not RS256";
        TokenType = "token_type", "typ is not JWT";
        KeyId = "key_id", "kid is empty or too long";
        HeaderMember = "header_member", "the header has a member that is not accepted";
        Payload = "payload", "the payload cannot be read";
        TokenVersion = "token_version", "ver is missing or unknown";
        UnknownKey = "unknown_key", "kid names no published key";
        Signature = "signature", "the signature is wrong";
        Claims = "claims", "a claim is missing, repeated or malformed";
        Issuer = "issuer", "iss is not our tenant's issuer";
        Tenant = "tenant", "tid is not our tenant";
        Audience = "audience", "aud is not this API";
        Expired = "expired", "the token has expired";
        NotYetValid = "not_yet_valid", "nbf is in the future";
        IssuedInFuture = "issued_in_future", "iat is in the future";
        LifetimeTooLong = "lifetime_too_long", "the token lives longer than those of Entra";
    }
}

reasons! {
    /// Why a valid token does not permit the request.
    PermissionFault {
        DelegatedToken = "delegated_token", "the token was issued for a user";
        PublicClient = "public_client", "the client did not authenticate itself at Entra";
        ClientNotAllowed = "client_not_allowed", "the client is not in ENTRA_ALLOWED_CLIENT_IDS";
        RoleMissing = "role_missing", "the token does not have the role";
        NotAnApplication = "not_an_application", "the token does not prove that it was issued to an application";
        NoClientId = "no_client_id", "the token names no client";
    }
}

/// Why a token does not permit a request. The reason goes into the log and the metric, not to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntraRefusal {
    /// Not authenticated: 401. Callers learn the reason of an expired token only.
    #[error("{0}")]
    Invalid(TokenFault),
    /// Authenticated, but not authorised: 403. With the client if the token names one.
    #[error("{0}")]
    NotPermitted(PermissionFault, Option<EntraClient>),
    /// No key to verify tokens with: 503.
    #[error("no usable Entra key")]
    NoKeys,
    /// No read has listed the token's key yet, and the next one may, after this time: 503.
    #[error("the next read of Entra's keys may list the token's")]
    KeyToCome(Duration),
}

impl EntraRefusal {
    /// The authenticated client that is refused.
    pub fn client(&self) -> Option<&EntraClient> {
        match self {
            Self::NotPermitted(_, client) => client.as_ref(),
            Self::Invalid(_) | Self::NoKeys | Self::KeyToCome(_) => None,
        }
    }
}

impl From<TokenFault> for EntraRefusal {
    fn from(fault: TokenFault) -> Self {
        Self::Invalid(fault)
    }
}

impl Reason for EntraRefusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(fault) => fault.as_str(),
            Self::NotPermitted(fault, _) => fault.as_str(),
            Self::NoKeys => "keys_unavailable",
            Self::KeyToCome(_) => "key_to_come",
        }
    }
}
