//! The tokens in a request's headers, before they are verified.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::SecretString;

use super::reason::reasons;

/// Bound on an Entra token, in bytes. Checked before decoding, because verifying a signature over megabytes takes
/// milliseconds.
const MAX_ENTRA_TOKEN: usize = 8 * 1024;

/// The header with the Genesys token of the widget's user.
pub const GENESYS_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

reasons! {
    /// Why a request has no token that could be verified.
    InvalidCredentials {
        Missing = "missing", "no token was sent";
        Repeated = "repeated", "more than one token was sent";
        Malformed = "malformed", "the credentials do not have the form of valid ones";
        /// Of a Basic account only.
        Wrong = "wrong", "the user name or the password is wrong";
    }
}

/// The token in the `Authorization` header (RFC 6750 §2.1). `query` is the request's query: a token in both places is
/// refused (§2).
pub fn entra_bearer(headers: &HeaderMap, query: Option<&str>) -> Result<SecretString, InvalidCredentials> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let header = values.next();
    let in_query =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == "access_token");
    if values.next().is_some() || (header.is_some() && in_query) {
        return Err(InvalidCredentials::Repeated);
    }
    let header = header.ok_or(InvalidCredentials::Missing)?.as_bytes();
    // Another scheme counts as no token, `Bearer` alone as an empty one.
    let (scheme, rest) = header.split_at(header.iter().position(|&byte| byte == b' ').unwrap_or(header.len()));
    // RFC 6750 separates with blanks only, not with a tab.
    let token = &rest[rest.iter().take_while(|&&byte| byte == b' ').count()..];
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(InvalidCredentials::Missing);
    }
    b64token(token, 1, MAX_ENTRA_TOKEN)
}

/// The token in the `x-auth-token` header. A value that looks like a JWS is refused: an Entra token in the wrong header
/// must not be disclosed to Genesys.
pub fn genesys_token(headers: &HeaderMap) -> Result<SecretString, InvalidCredentials> {
    let mut values = headers.get_all(GENESYS_TOKEN).iter();
    let value = values.next().ok_or(InvalidCredentials::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(InvalidCredentials::Repeated);
    }
    // One dot suffices: a truncated JWS still discloses its claims.
    if value.starts_with(b"eyJ") && value.contains(&b'.') {
        return Err(InvalidCredentials::Malformed);
    }
    b64token(value, 20, 2048)
}

/// RFC 6750 §2.1: letters, digits and `-._~+/`, then any number of `=`.
fn b64token(token: &[u8], min: usize, max: usize) -> Result<SecretString, InvalidCredentials> {
    let body = token.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let text = std::str::from_utf8(token).map_err(|_| InvalidCredentials::Malformed)?;
    if body > 0 && (min..=max).contains(&token.len()) && token[..body].iter().all(allowed) {
        Ok(text.into())
    } else {
        Err(InvalidCredentials::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn authorization(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn read(values: &[&str], query: Option<&str>) -> Result<String, InvalidCredentials> {
        entra_bearer(&authorization(values), query).map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(read(&[header], None).as_deref(), Ok("a.b.c"), "{header}");
        }
    }

    #[test]
    fn other_schemes_count_as_no_token() {
        for header in ["Basic dXNlcjpwYXNz", "Bearertoken", "", "Token a.b.c"] {
            assert_eq!(read(&[header], None), Err(InvalidCredentials::Missing), "{header}");
        }
        assert_eq!(read(&[], Some("access_token=a.b.c")), Err(InvalidCredentials::Missing));
    }

    #[test]
    fn two_tokens_are_refused_in_headers_and_query() {
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
    fn a_jws_is_never_accepted_as_a_genesys_token() {
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
