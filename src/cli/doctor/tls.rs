//! Examines the certificates of a host: whether they are trusted, and until when.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, Error};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

use super::finding::Finding;
use super::in_time;
use crate::outbound::{Intercepting, tls_with};
use crate::pexip::verifier;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);

/// A certificate that expires within this many days is a warning.
const DAYS_TO_RENEW: i64 = 30;

const CHECK: &str = "certificate";
const RENEW: &str = "renew the certificate";

/// Trust anchors for a host.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Trusted in addition to the certificates of this machine.
    pub(super) certificates: &'a [CertificateDer<'static>],
    /// The setting that names the file of such certificates.
    pub(super) setting: &'static str,
}

impl Trust<'_> {
    /// The certificates of this machine only.
    pub(super) const MACHINE: Self = Self { certificates: &[], setting: "SSL_CERT_FILE" };
}

/// Makes a TLS handshake and examines the host's certificates.
pub(super) async fn certificate(
    host: &str,
    stream: TcpStream,
    trust: Trust<'_>,
    now: OffsetDateTime,
) -> Result<Finding, Finding> {
    let no_anchors = |_| {
        let to_do = format!("check the certificates of this machine, and the file that {} names", trust.setting);
        Finding::not_fine(CHECK, "this machine has no usable trusted certificates", to_do)
    };
    // Recorded, since a failed handshake does not return the certificates that the host sends.
    let recorded = Arc::new(Mutex::new(Vec::<CertificateDer<'static>>::new()));
    let record = Arc::clone(&recorded);
    let intercept = move |chain: &[&CertificateDer<'_>]| {
        *record.lock() = chain.iter().map(|one| (*one).clone().into_owned()).collect();
        None
    };
    let verifier = verifier(trust.certificates.to_vec()).map_err(no_anchors)?;
    let config = tls_with(Arc::new(Intercepting { verifier, intercept })).map_err(no_anchors)?;
    let no_name =
        |_| Finding::not_fine(CHECK, "no certificate can be for this host name", "check the address in the settings");
    let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let no_tls = "check that the address and its port are those of an https service";
    let Some(result) = in_time(HANDSHAKE_LIMIT, handshake).await else {
        return Err(Finding::not_fine(CHECK, "the TLS handshake did not finish in time", no_tls));
    };
    let chain = recorded.lock();
    match result {
        Ok(_) => Ok(lifetime(&chain, now)),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(Error::InvalidCertificate(reason)) => fault(reason, &chain, trust, now),
            _ => Finding::not_fine(CHECK, "the TLS handshake failed", no_tls),
        }),
    }
}

/// Shows nothing of a certificate but its dates: its texts may be anything.
fn fault(reason: &CertificateError, chain: &[CertificateDer<'_>], trust: Trust<'_>, now: OffsetDateTime) -> Finding {
    let file = format!("the file that {} names", trust.setting);
    let (says, to_do) = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let is_issuers = end(chain.first()).is_none_or(|end| end >= now.unix_timestamp());
            let whose = if is_issuers { "a certificate of its issuer" } else { "its certificate" };
            let when = match reason {
                CertificateError::ExpiredContext { not_after, .. } => {
                    format!(" on {}", date(not_after.as_secs().cast_signed()))
                }
                _ => String::new(),
            };
            (format!("{whose} expired{when}"), RENEW.to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "its certificate is not valid yet".to_owned(),
            "check the clock of this machine, then the certificate".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "its certificate is for another name".to_owned(),
            "check the address in the settings, or have the certificate issued for this name too".to_owned(),
        ),
        CertificateError::Revoked => ("its certificate is revoked".to_owned(), RENEW.to_owned()),
        _ if is_self_signed(chain.first()) => (
            "its certificate is self-signed, and not trusted here".to_owned(),
            format!("compare it with the certificate on the host, then add it to {file}"),
        ),
        CertificateError::UnknownIssuer if chain.iter().any(|one| is_self_signed(Some(one))) => (
            "its chain ends at an authority that is not trusted here".to_owned(),
            format!("if the authority is your own, add its certificate to {file}"),
        ),
        CertificateError::UnknownIssuer => (
            format!("its chain of {} ends before an authority that is trusted here", chain.len()),
            format!(
                "configure the host to send its intermediate certificates; if the authority is your own, add its \
                 certificate to {file}"
            ),
        ),
        _ => (
            "its certificate is not accepted".to_owned(),
            "have a new one issued, for a server of this name".to_owned(),
        ),
    };
    Finding::not_fine(CHECK, says, to_do)
}

/// How long an accepted chain stays valid. The host's own certificate may have expired if `PEXIP_CA_FILE` names it. Any
/// other expired certificate was not needed.
fn lifetime(chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Finding {
    let now = now.unix_timestamp();
    let others = chain.iter().skip(1).filter_map(|one| end(Some(one))).filter(|end| *end >= now);
    let Some(first) = end(chain.first()) else {
        return Finding::could_not_tell(CHECK, "accepted, but its dates cannot be read");
    };
    let end = others.fold(first, i64::min);
    let days = (end - now).div_euclid(86_400);
    let date = date(end);
    if days < 0 {
        Finding::not_fine(CHECK, format!("trusted by PEXIP_CA_FILE, but expired on {date}"), RENEW)
    } else if days < DAYS_TO_RENEW {
        Finding::warning(CHECK, format!("trusted, but expires in {days} days, on {date}"), RENEW)
    } else {
        Finding::fine(CHECK, format!("trusted; the first of {} to expire does so on {date}", chain.len()))
    }
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "a date out of range".to_owned(), |at| at.date().to_string())
}

/// The expiry of a certificate, if it can be read.
fn end(certificate: Option<&CertificateDer<'_>>) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate?).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn is_self_signed(certificate: Option<&CertificateDer<'_>>) -> bool {
    let parsed = certificate.and_then(|certificate| parse_x509_certificate(certificate).ok());
    parsed.is_some_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}
