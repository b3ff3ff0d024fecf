//! Which certificates a management node is trusted by.

use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, Error};
use rustls_platform_verifier::Verifier;

use crate::outbound::{Intercepting, tls_with};

/// TLS for a node that is trusted by `PEXIP_CA_FILE` as well as by the platform's certificates.
///
/// A certificate in the file is trusted both as an authority and as the node's own. After installation a node has a
/// self-signed certificate, often marked as an authority, which standard verification accepts from no server.
pub fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    tls_with(verifier(certificates)?)
}

/// The verifier of [`trusting`].
pub(crate) fn verifier(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new_with_extra_roots(certificates.clone(), provider)?);
    let intercept = move |chain: &[&CertificateDer<'_>]| {
        let is_named_by_operator = certificates.iter().any(|certificate| certificate == chain[0]);
        is_named_by_operator.then(ServerCertVerified::assertion)
    };
    Ok(Arc::new(Intercepting { verifier, intercept }))
}
