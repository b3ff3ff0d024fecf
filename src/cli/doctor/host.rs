//! From here to a host: its name, the way, its certificates, its clock.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::DATE;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::finding::Finding;
use super::tls::{Trust, certificate};
use super::{CALL, in_time};
use crate::domain::Clock;

const NAME: Duration = Duration::from_secs(2);
const CONNECTION: Duration = Duration::from_secs(2);

/// Clocks that differ by more are worth a look, by seconds; and beyond the second number tokens are refused, for that
/// is the leeway that their times are given.
const NOTICEABLE_SKEW: i64 = 5;
const LARGEST_SKEW: i64 = 60;

/// Finds the way to the host of `url`, step by step. The error is the step that failed.
pub(super) async fn reach(
    url: &Url,
    trust: Trust<'_>,
    clock: &Clock,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    findings.push(name(host, port).await?);
    let (stream, connection) = connection(host, port).await?;
    findings.push(connection);
    if url.scheme() == "http" {
        findings.push(Finding::fine("certificate", "none is needed on this machine's own loopback address"));
        return Ok(());
    }
    findings.push(certificate(host, stream, trust, clock.now_utc()).await?);
    Ok(())
}

async fn name(host: &str, port: u16) -> Result<Finding, Finding> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(Finding::fine("name", format!("none is needed: {host} is an address")));
    }
    let unknown = |reason: &str| {
        let to_do = "check the address in the settings, the DNS servers and private DNS zones of this network";
        Finding::not_fine("name", format!("{host} {reason}"), to_do)
    };
    let found = in_time(NAME, lookup_host((host, port))).await.ok_or_else(|| unknown("is not resolved in time"))?;
    // The system's error says no more than that.
    let found = found.map_err(|_| unknown("cannot be resolved"))?;
    let addresses: BTreeSet<_> = found.map(|address| address.ip().to_string()).collect();
    if addresses.is_empty() {
        return Err(unknown("has no address"));
    }
    let addresses: Vec<_> = addresses.into_iter().collect();
    Ok(Finding::fine("name", format!("{host} is {}", addresses.join(", "))))
}

async fn connection(host: &str, port: u16) -> Result<(TcpStream, Finding), Finding> {
    let reason = match in_time(CONNECTION, TcpStream::connect((host, port))).await {
        Some(Ok(stream)) => return Ok((stream, Finding::fine("connection", format!("port {port} is open")))),
        Some(Err(error)) => error.kind().to_string(),
        None => "no answer in time".to_owned(),
    };
    let to_do = "check that it runs, and firewalls, routes and private endpoints on the way";
    Err(Finding::not_fine("connection", format!("no connection to port {port} of {host}: {reason}"), to_do))
}

/// Compares the clocks, by the `Date` of whatever the host answers.
pub(super) async fn clock(url: &Url, http: &reqwest::Client, clock: &Clock) -> Finding {
    let asked_at = clock.now_utc();
    let Some(Ok(answer)) = in_time(CALL, http.get(url.clone()).send()).await else {
        return Finding::could_not_tell("clock", "no answer to read the time from");
    };
    let answered_at = clock.now_utc();
    let date = answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(date) = date.map(OffsetDateTime::from) else {
        return Finding::could_not_tell("clock", "its answers tell no time");
    };
    // It was made in between, and is cut to the second.
    let ahead = (date - answered_at).whole_seconds();
    let behind = (asked_at - date).whole_seconds() - 1;
    let skew = ahead.max(behind).max(0);
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let says = format!("{skew} s {direction} this machine's");
    let to_do = "compare both with a time server; tokens are refused and rooms swept at the wrong time";
    if skew <= NOTICEABLE_SKEW {
        Finding::fine("clock", format!("at most {NOTICEABLE_SKEW} s apart from this machine's"))
    } else if skew <= LARGEST_SKEW {
        Finding::warning("clock", says, to_do)
    } else {
        Finding::not_fine("clock", says, to_do)
    }
}
