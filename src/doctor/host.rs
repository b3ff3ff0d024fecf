//! From here to a host: its name, the way, its certificates, its clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::DATE;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, Error};
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use url::Url;

use super::finding::Finding;
use super::{CALL, in_time};
use crate::clock::Clock;
use crate::pexip::trusting;

const NAME: Duration = Duration::from_secs(2);
const CONNECTION: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Certificates that end within this many days are to be renewed.
const DAYS_TO_RENEW: i64 = 30;

/// Clocks that differ by more are worth a look, by seconds; and beyond the second number tokens are refused, for that
/// is the leeway that their times are given.
const NOTICEABLE_SKEW: i64 = 5;
const LARGEST_SKEW: i64 = 60;

/// Finds the way to the host of `url`, step by step. `trusted` certificates count beside those of this machine. The
/// error is the step that failed.
pub(super) async fn reach(
    url: &Url,
    trusted: &[CertificateDer<'static>],
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
    findings.push(certificate(host, stream, trusted, clock.now_utc()).await?);
    Ok(())
}

async fn name(host: &str, port: u16) -> Result<Finding, Finding> {
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

async fn certificate(
    host: &str,
    stream: TcpStream,
    trusted: &[CertificateDer<'static>],
    now: OffsetDateTime,
) -> Result<Finding, Finding> {
    let unusable = |says: String, to_do: &str| Finding::not_fine("certificate", says, to_do);
    let own_fault = |what: &str| unusable(what.to_owned(), "check the certificates of this machine and PEXIP_CA_FILE");
    let config = trusting(trusted.to_vec()).map_err(|_| own_fault("no trusted certificates can be used here"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| own_fault("the host's name fits no certificate"))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let no_tls = "check that the address and its port are those of an https service";
    let stream = match in_time(HANDSHAKE, handshake).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            let (says, to_do) = tls_error(error.get_ref().and_then(|inner| inner.downcast_ref()), no_tls);
            return Err(unusable(says.to_owned(), to_do));
        }
        None => return Err(unusable("the TLS handshake did not end in time".to_owned(), no_tls)),
    };
    Ok(lifetime(stream.get_ref().1.peer_certificates().unwrap_or_default(), now))
}

/// In words of our own, since a certificate may say anything.
fn tls_error(error: Option<&Error>, no_tls: &'static str) -> (&'static str, &'static str) {
    let renew = "have its certificate renewed";
    let trust = "have it show its whole chain, or for Pexip name its certificate in PEXIP_CA_FILE";
    match error {
        Some(Error::InvalidCertificate(reason)) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("its certificate has expired", renew)
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("its certificate is not valid yet", "check the clock of this machine")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "its certificate is for another name",
                "check the address in the settings, or have its certificate renewed",
            ),
            CertificateError::UnknownIssuer => ("nobody whom this machine trusts vouches for its certificate", trust),
            CertificateError::Revoked => ("its certificate is revoked", renew),
            _ => ("its certificate is not accepted", trust),
        },
        _ => ("the TLS handshake failed", no_tls),
    }
}

/// How long a chain that was accepted holds. One that has ended is accepted where `PEXIP_CA_FILE` names it.
fn lifetime(chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Finding {
    let ends = chain.iter().map(|certificate| {
        x509_parser::parse_x509_certificate(certificate).map(|(_, parsed)| parsed.validity().not_after.timestamp())
    });
    let Ok(Some(ends)) = ends.collect::<Result<Vec<_>, _>>().map(|ends| ends.into_iter().min()) else {
        return Finding::could_not_tell("certificate", "accepted, but its dates cannot be read");
    };
    let days = (ends - now.unix_timestamp()).div_euclid(86_400);
    let date =
        OffsetDateTime::from_unix_timestamp(ends).map_or_else(|_| "far away".to_owned(), |at| at.date().to_string());
    let renew = "have its certificate renewed";
    if days < 0 {
        Finding::not_fine("certificate", format!("trusted by PEXIP_CA_FILE, but expired on {date}"), renew)
    } else if days < DAYS_TO_RENEW {
        Finding::warning("certificate", format!("trusted, but ends in {days} days, on {date}"), renew)
    } else {
        Finding::fine("certificate", format!("trusted; the first of {} to end does so on {date}", chain.len()))
    }
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
