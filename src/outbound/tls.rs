//! TLS for outbound connections.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Loading the platform's certificates is most of a cold start, so all clients share them.
static PLATFORM: LazyLock<Result<ClientConfig, Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    tls_with(Arc::new(Verifier::new(provider)?))
});

/// Begins to load the platform's certificates in a thread of its own, so that a starting process does other things
/// meanwhile.
pub fn load_certificates() {
    std::thread::spawn(|| LazyLock::force(&PLATFORM));
}

/// TLS that trusts the platform's certificates.
pub(super) fn platform() -> Result<&'static ClientConfig, &'static Error> {
    PLATFORM.as_ref()
}

/// TLS in which `verifier` decides which servers are trusted.
pub fn tls_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// A verifier that shows each chain (the server's certificate first) to `intercept` before `verifier`. A chain that
/// `intercept` trusts is not verified further; that the server has its key is always proven by the handshake.
pub struct Intercepting<F> {
    pub verifier: Arc<dyn ServerCertVerifier>,
    pub intercept: F,
}

impl<F> ServerCertVerifier for Intercepting<F>
where
    F: Fn(&[&CertificateDer<'_>]) -> Option<ServerCertVerified> + Send + Sync,
{
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).collect();
        match (self.intercept)(&chain) {
            Some(trusted) => Ok(trusted),
            None => self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
        }
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

impl<F> fmt::Debug for Intercepting<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Intercepting").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
