//! Tests the search for secrets itself: it must find them in every encoding.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use url::form_urlencoded::byte_serialize;

use super::{PASSWORD, known_secrets};
use crate::support::Secrets;

/// With characters that differ between the two base64 alphabets.
const BINARY: &str = "~~~???>>>ÿÿÿ~~~???";

/// Writes a secret in some encoding.
type Writer = fn(&str) -> String;

/// The secret in base64, with `before` bytes on each side.
fn encoded(engine: &impl Engine, before: usize, secret: &str) -> String {
    engine.encode(format!("{}{secret}{}", "a".repeat(before), "z".repeat(before)))
}

/// Percent-encodes every byte.
fn percent_encoded(hexadecimal: &str) -> String {
    let digits: Vec<_> = hexadecimal.chars().collect();
    digits.chunks(2).flat_map(|byte| ['%', byte[0], byte[1]]).collect()
}

const WRITERS: [(&str, Writer); 20] = [
    ("plain", ToOwned::to_owned),
    ("Debug", |secret| format!("{secret:?}")),
    ("Debug of Debug", |secret| format!("{:?}", format!("{secret:?}"))),
    ("JSON", |secret| serde_json::json!({ "field": secret }).to_string()),
    ("JSON in JSON", |secret| serde_json::json!({ "field": serde_json::json!([secret]).to_string() }).to_string()),
    ("form", |secret| byte_serialize(secret.as_bytes()).collect()),
    ("form, lower case", |secret| byte_serialize(secret.as_bytes()).collect::<String>().replace("%2B", "%2b")),
    ("percent-encoded", |secret| percent_encoded(&hex::encode_upper(secret))),
    ("percent-encoded, lower case", |secret| percent_encoded(&hex::encode(secret))),
    ("query", |secret| format!("a=b&c={}&d=e", byte_serialize(secret.as_bytes()).collect::<String>())),
    ("hexadecimal", |secret| hex::encode(secret)),
    ("hexadecimal, upper case", |secret| hex::encode_upper(secret)),
    ("list of bytes", |secret| format!("{:?}", secret.as_bytes())),
    ("base64", |secret| encoded(&BASE64_STANDARD, 0, secret)),
    ("base64 after one byte", |secret| encoded(&BASE64_STANDARD, 1, secret)),
    ("base64 after two bytes", |secret| encoded(&BASE64_STANDARD, 2, secret)),
    ("base64 after many bytes, in JSON", |secret| {
        serde_json::json!(encoded(&BASE64_STANDARD, 100, secret)).to_string()
    }),
    ("base64 in a query", |secret| byte_serialize(encoded(&BASE64_STANDARD, 1, secret).as_bytes()).collect()),
    ("base64url", |secret| encoded(&BASE64_URL_SAFE, 2, secret)),
    ("base64url without padding", |secret| encoded(&BASE64_URL_SAFE_NO_PAD, 1, secret)),
];

#[test]
fn a_secret_is_found_in_every_encoding() {
    for secret in [PASSWORD, BINARY, "27182818284590452353", "a token"] {
        let mut secrets = Secrets::default();
        secrets.plant("it", &format!("{secret}!"));
        for (form, write) in WRITERS {
            let line = format!("{{\"message\":\"before {} after\"}}", write(&format!("{secret}!")));
            assert_eq!(secrets.found_in(&line).len(), 1, "{secret} as {form}: {line}");
            let other = format!("before {} after", write(&format!("{secret}?")));
            assert!(secrets.found_in(&other).is_empty(), "another one as {form}: {other}");
        }
    }
}

#[test]
fn every_planted_secret_is_searched_for() {
    let secrets = known_secrets("AccountName=devstoreaccount1;AccountKey=a2V5IG9mIHRoZSBxdWV1ZQ==;QueueEndpoint=x");
    let all = "pass of \"Pexip\" 41%2B + \\ /?&=# pass of the Conferencing Nodes key of the audit trail's hash 5ca1ab1e-feed-4bad-8bee-decafc0ffee0 27182818284590452353 31415926535897932384 citizen-271828,case-314159 https://id.gov.bc.ca/idcheck/Y2l0aXplbi0yNzE4MjgsY2FzZS0zMTQxNTk SharedKey devstoreaccount1:x popreceipt= a2V5IG9mIHRoZSBxdWV1ZQ==";
    assert_eq!(secrets.found_in(all).len(), 11, "{:?}", secrets.found_in(all));
    assert_eq!(secrets.found_in("SharedKey devstoreaccount2: Y2l0aXplbi0yNzE4MjgsY2FzZS0zMTQx"), [""; 0]);
}
