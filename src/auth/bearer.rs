use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderName};
use secrecy::SecretString;

use super::Reason;

/// The longest Entra token, in bytes. Checked before anything is decoded: a signature check of megabytes costs
/// milliseconds.
const LONGEST_ENTRA_TOKEN: usize = 8 * 1024;

/// Where the widget puts its user's Genesys token.
pub const GENESYS_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Why the credentials of a request cannot even be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    #[error("no token was sent")]
    Missing,
    #[error("more than one token was sent")]
    Repeated,
    #[error("the token has a form that no valid one has")]
    Malformed,
}

impl Reason for InvalidCredentials {
    fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
        }
    }
}

/// The token in the `Authorization` header, by RFC 6750 §2.1. `query` is the request's, for a token in there as well
/// is refused (§2).
pub fn entra_bearer(headers: &HeaderMap, query: Option<&str>) -> Result<SecretString, InvalidCredentials> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let header = values.next();
    let in_query =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == "access_token");
    if values.next().is_some() || (header.is_some() && in_query) {
        return Err(InvalidCredentials::Repeated);
    }
    let header = header.ok_or(InvalidCredentials::Missing)?.as_bytes();
    // Another scheme is no token at all; `Bearer` alone is an empty one.
    let (scheme, rest) = header.split_at(header.iter().position(|&byte| byte == b' ').unwrap_or(header.len()));
    // Blanks only: a tab in between is no separator.
    let token = &rest[rest.iter().take_while(|&&byte| byte == b' ').count()..];
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(InvalidCredentials::Missing);
    }
    b64token(token, 1, LONGEST_ENTRA_TOKEN)
}

/// The token in the `x-auth-token` header. Refused where it looks like a JWS: a misplaced Entra token must not be
/// disclosed to Genesys.
pub fn genesys_token(headers: &HeaderMap) -> Result<SecretString, InvalidCredentials> {
    let mut values = headers.get_all(GENESYS_TOKEN).iter();
    let value = values.next().ok_or(InvalidCredentials::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(InvalidCredentials::Repeated);
    }
    // One dot is enough: a token that was cut off still tells what it claims.
    if value.starts_with(b"eyJ") && value.contains(&b'.') {
        return Err(InvalidCredentials::Malformed);
    }
    b64token(value, 20, 2048)
}

/// RFC 6750 §2.1: letters, digits and `-._~+/`, then any number of `=`.
fn b64token(token: &[u8], shortest: usize, longest: usize) -> Result<SecretString, InvalidCredentials> {
    let body = token.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let text = std::str::from_utf8(token).map_err(|_| InvalidCredentials::Malformed)?;
    if body > 0 && (shortest..=longest).contains(&token.len()) && token[..body].iter().all(allowed) {
        Ok(text.into())
    } else {
        Err(InvalidCredentials::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn authorization(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn read(values: &[&str], query: Option<&str>) -> Result<String, InvalidCredentials> {
        entra_bearer(&authorization(values), query).map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn scheme_is_read_without_regard_to_case() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(read(&[header], None).as_deref(), Ok("a.b.c"), "{header}");
        }
    }

    #[test]
    fn other_schemes_are_no_token() {
        for header in ["Basic dXNlcjpwYXNz", "Bearertoken", "", "Token a.b.c"] {
            assert_eq!(read(&[header], None), Err(InvalidCredentials::Missing), "{header}");
        }
        assert_eq!(read(&[], Some("access_token=a.b.c")), Err(InvalidCredentials::Missing));
    }

    #[test]
    fn two_tokens_are_refused_wherever_they_stand() {
        assert_eq!(read(&["Bearer a.b.c", "Bearer a.b.c"], None), Err(InvalidCredentials::Repeated));
        assert_eq!(read(&["Bearer a.b.c"], Some("x=1&access_token=a")), Err(InvalidCredentials::Repeated));
    }

    #[test]
    fn tokens_outside_the_alphabet_are_malformed() {
        for header in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer \"a\"", "Bearer =", "Bearer a=b"] {
            assert_eq!(read(&[header], None), Err(InvalidCredentials::Malformed), "{header:?}");
        }
        assert_eq!(read(&[&format!("Bearer {}", "a".repeat(8193))], None), Err(InvalidCredentials::Malformed));
        assert!(read(&[&format!("Bearer {}", "a".repeat(8192))], None).is_ok());
    }

    #[test]
    fn a_jws_is_never_taken_for_a_genesys_token() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(GENESYS_TOKEN, HeaderValue::from_str(value).unwrap())]);
            genesys_token(&headers).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(read("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln"), Err(InvalidCredentials::Malformed));
        assert_eq!(read("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0"), Err(InvalidCredentials::Malformed));
        assert_eq!(read("too-short"), Err(InvalidCredentials::Malformed));
        assert_eq!(read(&"a".repeat(2049)), Err(InvalidCredentials::Malformed));
        assert!(read("abcdefghijklmnopqrst-_.~+/==").is_ok());
        assert!(read("eyJhbGciOiJSUzI1NiJ9").is_ok());
    }
}
