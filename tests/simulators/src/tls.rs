//! What a simulated system needs to be called by https: a certificate, and the means to show it.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate for `localhost` that vouches for itself, as a management node has it after installation.
#[derive(Clone)]
pub struct SelfSigned {
    pem: String,
    acceptor: TlsAcceptor,
}

impl SelfSigned {
    /// A new one, that nobody trusts yet.
    #[expect(clippy::new_without_default, reason = "each one is different, which a default would not be")]
    pub fn new() -> Self {
        Self::with(IsCa::NoCa)
    }

    /// A new one that is marked as an authority, as `openssl req -x509` makes it without being asked.
    pub fn authority() -> Self {
        Self::with(IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// A new one that ends in this many days, or has ended so many days ago if the number is negative.
    pub fn ending_in(days: i64) -> Self {
        Self::of(IsCa::NoCa, Some(days))
    }

    fn with(is_ca: IsCa) -> Self {
        Self::of(is_ca, None)
    }

    fn of(is_ca: IsCa, days: Option<i64>) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a host name makes a certificate");
        params.is_ca = is_ca;
        if let Some(days) = days {
            // Half a day more, so that it does not matter how long a test takes.
            params.not_after = OffsetDateTime::now_utc() + time::Duration::hours(24 * days + 12);
        }
        let signing_key = KeyPair::generate().expect("a key of the default kind");
        let cert = params.self_signed(&signing_key).expect("the key signs its own certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        // Named here, for a process with two providers in it has no default one.
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the key is the certificate's");
        Self { pem: cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The certificate, for a file of trusted ones.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}
