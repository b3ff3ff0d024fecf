//! Headers that carry tokens. The first line is the request's query, each other line a header's value.

#![no_main]

use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use maxconf::auth::{entra_bearer, genesys_token};
use secrecy::ExposeSecret;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let query = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let values: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();

    if let Ok(token) = entra_bearer(&headers(&AUTHORIZATION, &values), query) {
        let token = token.expose_secret();
        assert_eq!(values.len(), 1, "of two tokens neither is taken");
        assert!(is_b64token(token) && token.len() <= 8192, "{token:?}");
        assert!(values[0].as_bytes()[..7].eq_ignore_ascii_case(b"Bearer "), "{:?}", values[0]);
        assert!(!query.unwrap_or_default().starts_with("access_token="), "{query:?}");
    }
    if let Ok(token) = genesys_token(&headers(&HeaderName::from_static("x-auth-token"), &values)) {
        let token = token.expose_secret();
        assert_eq!(values.len(), 1, "of two tokens neither is taken");
        assert!(is_b64token(token) && (20..=2048).contains(&token.len()), "{token:?}");
        assert!(!(token.starts_with("eyJ") && token.matches('.').count() >= 2), "a JWS: {token:?}");
    }
});

fn headers(name: &HeaderName, values: &[HeaderValue]) -> HeaderMap {
    values.iter().map(|value| (name.clone(), value.clone())).collect()
}

/// RFC 6750 §2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.chars().all(|one| one.is_ascii_alphanumeric() || "-._~+/".contains(one))
}
