//! Hides secrets in what the page shows, and shows that they are hidden: `⟦PIN⟧` stands for a PIN.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

/// Longest body that is shown.
const LONGEST: usize = 4_096;

/// What a header, a parameter or a member of this name holds, if it is secret.
fn secret(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "authorization" | "x-auth-token" | "token" | "access_token" | "assertion" | "client_assertion" => "token",
        "pin" | "guest_pin" | "host_pin" => "PIN",
        "uuidata" | "tag" | "service_tag" | "case" => "case",
        "client_secret" | "password" => "secret",
        "popreceipt" => "receipt",
        // Whoever has it can join a call of the website.
        "linkid" => "link",
        // Who started the call can end it with this.
        "owner" => "owner",
        // A repetition of the request with this key gets a link to the same room, and the right to end its call.
        "key" | "idempotency-key" => "key",
        "sig" => "signature",
        _ => return None,
    })
}

fn hidden(what: &str) -> String {
    format!("⟦{what}⟧")
}

/// Values of `pin` that are no PINs: a node's demand for one.
fn is_harmless(value: &Value) -> bool {
    match value {
        Value::String(text) => ["", "none", "required"].contains(&text.as_str()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => true,
        Value::Number(_) => false,
    }
}

/// The path, without the id of a call in the website's links.
pub(super) fn path(path: &str) -> String {
    const CALLS: &str = "/website/calls/";
    let Some(id_and_rest) = path.strip_prefix(CALLS) else { return path.to_owned() };
    let rest = id_and_rest.find('/').map_or("", |at| &id_and_rest[at..]);
    format!("{CALLS}{}{rest}", hidden("link"))
}

/// The query as people read it.
pub(super) fn query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let shown = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = secret(name).map_or_else(|| percent_decode_str(value).decode_utf8_lossy().into_owned(), hidden);
        format!("{name}={value}")
    });
    shown.collect::<Vec<_>>().join("&")
}

/// Names and values.
pub(super) fn headers(headers: &HeaderMap) -> Vec<[String; 2]> {
    let shown = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let value = match secret(name.as_str()) {
            // The scheme is no secret.
            Some(what) => match value.split_once(' ') {
                Some((scheme @ ("Bearer" | "Basic"), _)) => format!("{scheme} {}", hidden(what)),
                Some(("SharedKey", _)) => format!("SharedKey {}", hidden("signature")),
                _ => hidden(what),
            },
            None => value,
        };
        [name.as_str().to_owned(), value]
    });
    shown.collect()
}

/// A body of JSON, of XML or of a form.
pub(super) fn body(kind: &str, body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(body);
    let mut shown = if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        hide(&mut value);
        format!("{value:#}")
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        let pairs = form_urlencoded::parse(body)
            .map(|(name, value)| format!("{name}={}", secret(&name).map_or_else(|| value.into_owned(), hidden)));
        pairs.collect::<Vec<_>>().join("\n")
    } else {
        between(&text, "<PopReceipt>", "</PopReceipt>", &hidden("receipt"))
    };
    if let Some((end, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(end);
        shown += "…";
    }
    shown
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match secret(name) {
                    Some(what) if !is_harmless(member) => *member = json!(hidden(what)),
                    _ => hide(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces whatever stands between two marks.
fn between(text: &str, start: &str, end: &str, by: &str) -> String {
    let mut parts = text.split(start);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once(end).map_or("", |(_, rest)| rest);
        shown += &format!("{start}{by}{end}{rest}");
    }
    shown
}
