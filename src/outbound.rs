//! What all calls to other systems have in common: client, failures, bounded bodies, waits.

pub(crate) mod breaker;
pub(crate) mod calls;
mod failure;
mod oauth2;
mod resolver;
mod tls;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Limited};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, redirect};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tower::util::MapRequestLayer;

pub(crate) use failure::is_close_without_answer;
pub use failure::{CallFailure, CertificateFault, ConnectStep};
pub(crate) use oauth2::refusal_code;
pub use tls::{Intercepting, load_certificates, tls_with};

/// The wait before a retry if the system asks for none.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The longest `Retry-After` in seconds that is kept.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The same for a date: a clock may be wrong.
const LONGEST_DATED_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A client for one system. The caller sets a timeout on each request.
pub fn client_builder(connect_timeout: Duration) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    // If the platform's certificates cannot be loaded, the client loads them itself and reports the error.
    let builder = match tls::platform() {
        Ok(tls) => builder.tls_backend_preconfigured(tls.clone()),
        Err(_) => builder,
    };
    builder
        .user_agent(concat!("maxconf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .connector_layer(MapRequestLayer::new(note_opened))
        .dns_resolver(Arc::new(resolver::SystemResolver))
        // Following a redirect could send a credential to another host; on Pexip it means that the account is refused.
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
}

tokio::task_local! {
    /// Whether the call in progress has opened a connection.
    static OPENED: Cell<bool>;
}

/// Called for each connection that is opened, within the call that needs it.
fn note_opened<T>(target: T) -> T {
    // Others open connections too: the SDK of the storage account.
    let _ = OPENED.try_with(|opened| opened.set(true));
    target
}

/// The result of a call, and whether it opened a connection.
pub(crate) async fn noting_opened<T>(call: impl Future<Output = T>) -> (T, bool) {
    OPENED.scope(Cell::new(false), async { (call.await, OPENED.with(Cell::get)) }).await
}

/// Sends a request and returns the response's head. The one place that sends: a failure always names its step.
///
/// A peer may close an idle connection just when it is used again. A GET that gets no answer because of that is
/// sent once more; nothing else is, for it may have been carried out.
#[expect(clippy::disallowed_methods, reason = "the one place that sends requests")]
pub async fn send(request: RequestBuilder) -> Result<Response, CallFailure> {
    let (client, request) = request.build_split();
    let request = request?;
    let again = if request.method() == Method::GET { request.try_clone() } else { None };
    let started = Instant::now();
    match (noting_opened(client.execute(request)).await, again) {
        ((Err(error), false), Some(mut again)) if is_close_without_answer(&error) => {
            // Both together take no longer than one may.
            if let Some(limit) = again.timeout_mut() {
                *limit = limit.saturating_sub(started.elapsed());
            }
            Ok(client.execute(again).await?)
        }
        ((result, _), _) => Ok(result?),
    }
}

/// The body of a response, of at most `limit` bytes.
pub async fn body(response: Response, limit: usize) -> Result<Vec<u8>, CallFailure> {
    match Limited::new(reqwest::Body::from(response), limit).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) => Err(error.downcast::<reqwest::Error>().map_or(CallFailure::Unreadable, |error| (*error).into())),
    }
}

/// The JSON body of a response, of at most `limit` bytes.
pub async fn json<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, CallFailure> {
    parse_json(&body(response, limit).await?).ok_or(CallFailure::Unreadable)
}

/// Parses JSON that is UTF-8 throughout: `serde_json::from_slice` accepts other bytes in members that it skips. Found
/// by the fuzzer.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// The wait in a `Retry-After` header: a number of seconds, or the time until a date. Of the waits by our clock, which
/// says `now`, and by the answer's `Date`, it is the longer one.
///
/// Source: RFC 9110, section 10.2.3.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    wait_asked_for(text(RETRY_AFTER)?, text(DATE), Some(now))
}

/// The same, from the texts of the two headers. Without `now`, a date counts by the answer's `Date` alone.
pub(crate) fn wait_asked_for(asked: &str, date: Option<&str>, now: Option<SystemTime>) -> Option<Duration> {
    let parse = |text: &str| httpdate::parse_http_date(text.trim()).ok();
    let asked = asked.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    }
    let until = parse(asked)?;
    let earliest = date.and_then(parse).into_iter().chain(now).min()?;
    Some(until.duration_since(earliest).unwrap_or_default().min(LONGEST_DATED_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct User {
        id: String,
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date_that_both_clocks_must_reach() {
        let at = |time: &str| format!("Mon, 02 Jun 2025 {time} GMT");
        let now = httpdate::parse_http_date(&at("08:00:00")).unwrap();
        for (asked, date, seconds) in [
            ("17", "", Some(17)),
            ("86400", &at("08:00:00"), Some(3600)),
            (&at("08:00:20"), "", Some(20)),
            (&at("08:00:20"), &at("08:00:00"), Some(20)),
            (&at("09:00:00"), &at("08:00:00"), Some(60)),
            (&at("07:59:00"), &at("08:00:00"), Some(0)),
            // Their clock is ahead of ours, or behind.
            (&at("08:00:50"), &at("08:00:40"), Some(50)),
            (&at("07:59:50"), &at("07:59:40"), Some(10)),
            (&at("08:00:20"), "yesterday", Some(20)),
            ("Monday, 02-Jun-25 08:00:20 GMT", "", Some(20)),
            ("Mon Jun  2 08:00:20 2025", "", Some(20)),
            ("Mon, 02 Jun 2025", "", None),
            ("-1", "", None),
            ("", &at("08:00:00"), None),
        ] {
            let headers = [(RETRY_AFTER, asked), (DATE, date)].into_iter().filter(|(_, text)| !text.is_empty());
            let headers = headers.map(|(name, text)| (name, text.parse().unwrap())).collect();
            let wait = retry_after(&headers, now).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{asked:?} {date:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_no_json_even_in_skipped_members() {
        assert_eq!(parse_json(br#"{"id":"u","other":"x"}"#), Some(User { id: "u".to_owned() }));
        for body in [&b"{\"id\":\"\xff\"}"[..], b"{\"id\":\"u\",\"other\":\"\xff\"}", b"{\"id\":\"u\",\"\xff\":1}"] {
            assert_eq!(parse_json::<User>(body), None, "{}", body.escape_ascii());
        }
    }
}
