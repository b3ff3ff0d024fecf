//! Signatures with the account key ("Authorize with Shared Key", Storage REST reference).

use std::fmt;

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::form_urlencoded;

use super::{ACCOUNT, ACCOUNT_KEY};

/// The headers of the string to sign, in its order, after the verb.
const SIGNED_HEADERS: [HeaderName; 11] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    header::CONTENT_TYPE,
    header::DATE,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// Signs and verifies with the key of the account.
pub(crate) struct AccountKey(hmac::Key);

impl AccountKey {
    /// The emulator's published key.
    pub(crate) fn published() -> Self {
        let bytes = BASE64_STANDARD.decode(ACCOUNT_KEY).expect("the published key is base64");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        BASE64_STANDARD.encode(hmac::sign(&self.0, text.as_bytes()))
    }

    pub(crate) fn verifies(&self, text: &str, signature: &str) -> bool {
        BASE64_STANDARD.decode(signature).is_ok_and(|tag| hmac::verify(&self.0, text.as_bytes(), &tag).is_ok())
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey")
    }
}

/// What the signature of a request covers.
pub(crate) fn string_to_sign(method: &Method, uri: &Uri, headers: &HeaderMap) -> String {
    let mut text = method.as_str().to_owned();
    for name in &SIGNED_HEADERS {
        text.push('\n');
        let value = value(headers, name);
        // Since version 2015-02-21 a length of zero is signed as an empty line.
        if *name != header::CONTENT_LENGTH || value != "0" {
            text.push_str(&value);
        }
    }
    text.push('\n');
    text.push_str(&canonical_headers(headers));
    text.push_str(&canonical_resource(uri));
    text
}

fn canonical_headers(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-ms-"))
        .map(|name| (name.as_str(), value(headers, name)))
        .collect();
    lines.sort();
    lines.iter().flat_map(|(name, value)| [*name, ":", value.as_str(), "\n"]).collect()
}

/// With path-style addresses the account appears twice: once by rule, once as the start of the path.
fn canonical_resource(uri: &Uri) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| format!("\n{}:{value}", name.to_lowercase()))
        .collect();
    pairs.sort();
    format!("/{ACCOUNT}{}{}", uri.path(), pairs.concat())
}

fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::trim).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature was computed with another implementation of HMAC.
    #[test]
    fn a_request_is_signed_as_the_reference_says() {
        let uri = "/devstoreaccount1/rooms/messages/7f1a?visibilitytimeout=30&popReceipt=a%2Bb%2F%3D"
            .parse()
            .expect("a valid path");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ms-version", "2026-04-06"),
            ("x-ms-date", "Fri, 20 Nov 2026 10:00:00 GMT"),
            ("content-type", "application/xml"),
            ("content-length", "0"),
        ] {
            headers.insert(name, value.parse().expect("a valid header"));
        }

        let text = string_to_sign(&Method::PUT, &uri, &headers);

        assert_eq!(
            text,
            "PUT\n\n\n\n\napplication/xml\n\n\n\n\n\n\n\
             x-ms-date:Fri, 20 Nov 2026 10:00:00 GMT\nx-ms-version:2026-04-06\n\
             /devstoreaccount1/devstoreaccount1/rooms/messages/7f1a\npopreceipt:a+b/=\nvisibilitytimeout:30"
        );
        assert_eq!(AccountKey::published().sign(&text), "/SlKqRma07o/qQTJdrDv1lzC7YUBmrIe8xuWhfjUHcI=");
        assert!(AccountKey::published().verifies(&text, "/SlKqRma07o/qQTJdrDv1lzC7YUBmrIe8xuWhfjUHcI="));
        assert!(!AccountKey::published().verifies(&text, "/SlKqRma07o/qQTJdrDv1lzC7YUBmrIe8xuWhfjUHcA="));
    }
}
