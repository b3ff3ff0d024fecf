//! Certificates for simulated systems with https.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A self-signed certificate for `localhost`, as a management node has after installation.
#[derive(Clone)]
pub struct SelfSigned {
    pem: String,
    acceptor: TlsAcceptor,
}

impl SelfSigned {
    /// Generates a certificate.
    #[expect(clippy::new_without_default, reason = "each one is different, which a default would not be")]
    pub fn new() -> Self {
        Self::with(IsCa::NoCa)
    }

    /// Generates a certificate that is marked as an authority, as `openssl req -x509` does by default.
    pub fn authority() -> Self {
        Self::with(IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// Generates a certificate that expires in this many days; negative for an expired one.
    pub fn expiring_in(days: i64) -> Self {
        Self::of(IsCa::NoCa, Some(days))
    }

    fn with(is_ca: IsCa) -> Self {
        Self::of(is_ca, None)
    }

    fn of(is_ca: IsCa, days: Option<i64>) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a host name makes a certificate");
        params.is_ca = is_ca;
        if let Some(days) = days {
            params.not_after = day(days);
        }
        let signing_key = KeyPair::generate().expect("a key of the default kind");
        let cert = params.self_signed(&signing_key).expect("the key signs its own certificate");
        let acceptor = acceptor(vec![cert.der().clone()], &signing_key);
        Self { pem: cert.pem(), acceptor }
    }

    /// The certificate as PEM, for a file of trusted certificates.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

impl From<&SelfSigned> for TlsAcceptor {
    fn from(certificate: &SelfSigned) -> Self {
        certificate.acceptor.clone()
    }
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

/// A certificate authority with a root and an intermediate certificate.
#[derive(Debug)]
pub struct Authority {
    root: Certificate,
    intermediate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What is issued and presented. The default is for `localhost`, for 90 days, presented with its chain.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The host's name.
    pub name: &'static str,
    /// Days from now until it becomes valid; negative if it is valid already.
    pub begins_in: i64,
    /// Days from now until it expires; negative if it has expired.
    pub ends_in: i64,
    /// Whether the intermediate certificate is presented.
    pub with_intermediate: bool,
    /// Whether the root is presented, which is unnecessary.
    pub with_root: bool,
    /// Whether an unrelated, expired certificate is presented.
    pub with_an_old_one: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            name: "localhost",
            begins_in: -1,
            ends_in: 90,
            with_intermediate: true,
            with_root: false,
            with_an_old_one: false,
        }
    }
}

/// A certificate of an authority, with its key and chain.
#[derive(Clone)]
pub struct Issued(TlsAcceptor);

impl Authority {
    /// Generates an authority whose intermediate certificate expires in this many days.
    pub fn with_intermediate_expiring_in(days: i64) -> Self {
        let root_key = KeyPair::generate().expect("a key of the default kind");
        let root_params = authority("MaxConf test root", 3650);
        let root = root_params.self_signed(&root_key).expect("the key signs its own certificate");
        let key = KeyPair::generate().expect("a key of the default kind");
        let params = authority("MaxConf test intermediate", days);
        let above = Issuer::new(root_params, root_key);
        let intermediate = params.signed_by(&key, &above).expect("the root signs");
        Self { root, intermediate, issuer: Issuer::new(params, key) }
    }

    /// The root's certificate as PEM, for a file of trusted certificates.
    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// Issues a certificate to a host.
    pub fn issue(&self, order: Order) -> Issued {
        let key = KeyPair::generate().expect("a key of the default kind");
        let mut params = CertificateParams::new([order.name.to_owned()]).expect("a host name makes a certificate");
        params.distinguished_name = named(order.name);
        params.not_before = day(order.begins_in);
        params.not_after = day(order.ends_in);
        let certificate = params.signed_by(&key, &self.issuer).expect("the intermediate signs");
        let mut chain = vec![certificate.der().clone()];
        if order.with_intermediate {
            chain.push(self.intermediate.der().clone());
        }
        if order.with_root {
            chain.push(self.root.der().clone());
        }
        if order.with_an_old_one {
            let mut params = authority("MaxConf test root of old", -100);
            params.not_before = day(-1000);
            chain.push(params.self_signed(&key).expect("a key signs").der().clone());
        }
        Issued(acceptor(chain, &key))
    }
}

impl From<&Issued> for TlsAcceptor {
    fn from(issued: &Issued) -> Self {
        issued.0.clone()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issued").finish_non_exhaustive()
    }
}

fn authority(name: &str, ends_in: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = day(ends_in);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// This many days and a half from now: the duration of a test does not change the number of days.
fn day(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::hours(24 * days + 12)
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Named explicitly: a process with two providers has no default one.
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}
