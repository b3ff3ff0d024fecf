//! Whether a host proves who it is, and for how long it will.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

use super::finding::Finding;
use super::in_time;
use crate::outbound::tls_with;
use crate::pexip::verifier;

const HANDSHAKE: Duration = Duration::from_secs(3);

/// Certificates that end within this many days are to be renewed.
const DAYS_TO_RENEW: i64 = 30;

const CHECK: &str = "certificate";
const RENEW: &str = "have its certificate renewed";

/// Whom a host is believed.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    /// What counts beside the certificates of this machine.
    pub(super) certificates: &'a [CertificateDer<'static>],
    /// Where an operator adds one.
    pub(super) setting: &'static str,
}

impl Trust<'_> {
    /// In the certificates of this machine only.
    pub(super) const OF_THIS_MACHINE: Self = Self { certificates: &[], setting: "SSL_CERT_FILE" };
}

/// Shakes hands with the host and judges what it shows.
pub(super) async fn certificate(
    host: &str,
    stream: TcpStream,
    trust: Trust<'_>,
    now: OffsetDateTime,
) -> Result<Finding, Finding> {
    let no_roots = |_| {
        let to_do = format!("check the certificates of this machine, and the file that {} names", trust.setting);
        Finding::not_fine(CHECK, "no trusted certificates can be used here", to_do)
    };
    let shown =
        Arc::new(Shown { verifier: verifier(trust.certificates.to_vec()).map_err(no_roots)?, chain: Mutex::default() });
    let config = tls_with(Arc::clone(&shown) as _).map_err(no_roots)?;
    let no_name =
        |_| Finding::not_fine(CHECK, "the host's name fits no certificate", "check the address in the settings");
    let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let no_tls = "check that the address and its port are those of an https service";
    let Some(ended) = in_time(HANDSHAKE, handshake).await else {
        return Err(Finding::not_fine(CHECK, "the TLS handshake did not end in time", no_tls));
    };
    let chain = shown.chain();
    match ended {
        Ok(_) => Ok(lifetime(&chain, now)),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(Error::InvalidCertificate(reason)) => fault(reason, &chain, trust, now),
            _ => Finding::not_fine(CHECK, "the TLS handshake failed", no_tls),
        }),
    }
}

/// In words of our own, since a certificate may say anything.
fn fault(reason: &CertificateError, chain: &[CertificateDer<'_>], trust: Trust<'_>, now: OffsetDateTime) -> Finding {
    let not_fine = |says: String, to_do: String| Finding::not_fine(CHECK, says, to_do);
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let of_the_chain = end(chain.first()).is_none_or(|end| end >= now.unix_timestamp());
            let whose = if of_the_chain { "a certificate that vouches for its own" } else { "its certificate" };
            let when = match reason {
                CertificateError::ExpiredContext { not_after, .. } => {
                    format!(" on {}", date(not_after.as_secs().cast_signed()))
                }
                _ => String::new(),
            };
            not_fine(format!("{whose} has expired{when}"), RENEW.to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => not_fine(
            "its certificate is not valid yet".to_owned(),
            "check the clock of this machine, then the certificate".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => not_fine(
            "its certificate is for another name".to_owned(),
            "check the address in the settings, or have its certificate made for this name too".to_owned(),
        ),
        CertificateError::Revoked => not_fine("its certificate is revoked".to_owned(), RENEW.to_owned()),
        _ if vouches_for_itself(chain.first()) => not_fine(
            "its certificate vouches for itself, and is not one that is trusted here".to_owned(),
            format!("compare it with the one on the host, then put it into the file that {} names", trust.setting),
        ),
        CertificateError::UnknownIssuer if chain.iter().any(|one| vouches_for_itself(Some(one))) => not_fine(
            "it shows a chain to an authority that is not trusted here".to_owned(),
            format!("if the authority is your own, put its certificate into the file that {} names", trust.setting),
        ),
        CertificateError::UnknownIssuer => not_fine(
            format!("the chain of {} that it shows ends before any authority that is trusted here", chain.len()),
            format!(
                "have it show its intermediate certificates too; if its authority is your own, put that into the file \
                 that {} names",
                trust.setting
            ),
        ),
        _ => not_fine(
            "its certificate is not accepted".to_owned(),
            "have it made anew, for a server of this name".to_owned(),
        ),
    }
}

/// How long a chain that was accepted holds. The host's own certificate may have ended where `PEXIP_CA_FILE` names it;
/// another one that has ended was not needed.
fn lifetime(chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Finding {
    let now = now.unix_timestamp();
    let others = chain.iter().skip(1).filter_map(|one| end(Some(one))).filter(|end| *end >= now);
    let Some(first) = end(chain.first()) else {
        return Finding::could_not_tell(CHECK, "accepted, but its dates cannot be read");
    };
    let ends = others.fold(first, i64::min);
    let days = (ends - now).div_euclid(86_400);
    let date = date(ends);
    if days < 0 {
        Finding::not_fine(CHECK, format!("trusted by PEXIP_CA_FILE, but expired on {date}"), RENEW)
    } else if days < DAYS_TO_RENEW {
        Finding::warning(CHECK, format!("trusted, but ends in {days} days, on {date}"), RENEW)
    } else {
        Finding::fine(CHECK, format!("trusted; the first of {} to end does so on {date}", chain.len()))
    }
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "a day far away".to_owned(), |at| at.date().to_string())
}

/// When a certificate ends, if it can be read.
fn end(certificate: Option<&CertificateDer<'_>>) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate?).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn vouches_for_itself(certificate: Option<&CertificateDer<'_>>) -> bool {
    let parsed = certificate.and_then(|certificate| parse_x509_certificate(certificate).ok());
    parsed.is_some_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

/// Keeps the certificates that are shown, which a failed handshake does not tell. Another one decides.
#[derive(Debug)]
struct Shown {
    verifier: Arc<dyn ServerCertVerifier>,
    /// The host's own first.
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Shown {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = [end_entity].into_iter().chain(intermediates).map(|one| one.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
