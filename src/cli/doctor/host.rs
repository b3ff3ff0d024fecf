//! Examines the path to a host step by step: DNS, TCP, TLS; then its clock.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::DATE;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::finding::{Finding, Findings};
use super::tls::{Trust, certificate};
use super::{CALL_LIMIT, in_time};
use crate::domain::Clock;
use crate::outbound::send;

const DNS_LIMIT: Duration = Duration::from_secs(2);
const TCP_LIMIT: Duration = Duration::from_secs(2);

/// Seconds that clocks may differ without a warning.
const TOLERATED_SKEW: i64 = 5;

/// Seconds of leeway for the times in tokens. With a larger skew tokens are refused.
const TOKEN_LEEWAY: i64 = 60;

/// Examines the path to the host of `url`. The error is the step that failed.
pub(super) async fn examine(
    url: &Url,
    trust: Trust<'_>,
    clock: &Clock,
    findings: &mut Findings,
) -> Result<(), Finding> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    findings.push(resolve(host, port).await?);
    let stream = connect(host, port).await?;
    findings.push(Finding::fine("connection", format!("TCP port {port} is open")));
    if url.scheme() == "http" {
        findings.push(Finding::fine("certificate", "not needed: http on this machine's loopback address"));
        return Ok(());
    }
    findings.push(certificate(host, stream, trust, clock.now_utc()).await?);
    Ok(())
}

async fn resolve(host: &str, port: u16) -> Result<Finding, Finding> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(Finding::fine("name", format!("{host} is an IP address")));
    }
    let failed = |reason: &str| {
        let to_do = "check the address in the settings, then this network's DNS servers and private DNS zones";
        Finding::not_fine("name", format!("DNS {reason} {host}"), to_do)
    };
    let found =
        in_time(DNS_LIMIT, lookup_host((host, port))).await.ok_or_else(|| failed("gives no answer in time for"))?;
    // The system's error gives no more detail.
    let found = found.map_err(|_| failed("cannot resolve"))?;
    let addresses: BTreeSet<_> = found.map(|address| address.ip().to_string()).collect();
    if addresses.is_empty() {
        return Err(failed("has no address for"));
    }
    let addresses: Vec<_> = addresses.into_iter().collect();
    Ok(Finding::fine("name", format!("{host} resolves to {}", addresses.join(", "))))
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Finding> {
    let reason = match in_time(TCP_LIMIT, TcpStream::connect((host, port))).await {
        Some(Ok(stream)) => return Ok(stream),
        Some(Err(error)) => error.kind().to_string(),
        None => "no answer in time".to_owned(),
    };
    let to_do = "check that the server runs, then firewalls, routes and private endpoints on the path";
    Err(Finding::not_fine("connection", format!("no TCP connection to {host}, port {port}: {reason}"), to_do))
}

/// Compares the clocks by the `Date` header of any answer.
pub(super) async fn clock(url: &Url, http: &reqwest::Client, clock: &Clock) -> Finding {
    let sent_at = clock.now_utc();
    let Some(Ok(answer)) = in_time(CALL_LIMIT, send(http.get(url.clone()))).await else {
        return Finding::could_not_tell("clock", "no answer to read the time from");
    };
    let received_at = clock.now_utc();
    let date = answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(date) = date.map(OffsetDateTime::from) else {
        return Finding::could_not_tell("clock", "its answers have no Date header");
    };
    // `Date` was set between both times, and has no fractions of a second.
    let ahead = (date - received_at).whole_seconds();
    let behind = (sent_at - date).whole_seconds() - 1;
    let skew = ahead.max(behind).max(0);
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let says = format!("{skew} s {direction} this machine's clock");
    let to_do = "compare both clocks with a time server: tokens are refused, and rooms deleted at the wrong time";
    if skew <= TOLERATED_SKEW {
        Finding::fine("clock", format!("within {TOLERATED_SKEW} s of this machine's clock"))
    } else if skew <= TOKEN_LEEWAY {
        Finding::warning("clock", says, to_do)
    } else {
        Finding::not_fine("clock", says, to_do)
    }
}
