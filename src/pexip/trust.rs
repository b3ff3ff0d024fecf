use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::outbound::tls_with;

/// TLS for a node that is trusted by `PEXIP_CA_FILE` as well as by the machine's own certificates.
///
/// A certificate in the file is trusted both as an authority and as the node's own. The second is what a node has
/// after installation: a certificate that vouches for itself, often marked as an authority, which the usual
/// verification accepts from no server.
pub fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    tls_with(verifier(certificates)?)
}

/// Who decides that.
pub fn verifier(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let usual = Verifier::new_with_extra_roots(certificates.clone(), provider)?;
    Ok(Arc::new(OwnOrUsual { own: certificates, usual }))
}

#[derive(Debug)]
struct OwnOrUsual {
    own: Vec<CertificateDer<'static>>,
    usual: Verifier,
}

impl ServerCertVerifier for OwnOrUsual {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The very certificate that the operator has named. That the node has its key is proven by the handshake.
        if self.own.iter().any(|certificate| certificate == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
