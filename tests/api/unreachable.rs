//! Why a system cannot be reached: the step at which a connection fails is in the log, and never in an answer.

use std::time::Duration;

use maxconf::outbound::{CallFailure, CertificateFault, ConnectStep, client_builder};
use maxconf::pexip::trusting;
use maxconf_simulators::{Authority, Order, PexipSimulator, SelfSigned};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;

use crate::support::{PemFile, TestApp, eventually};

/// Why a request fails, from a client that trusts `authority` as well.
async fn failure(url: &str, authority: &str) -> CallFailure {
    let trusted = CertificateDer::pem_slice_iter(authority.as_bytes()).map(|one| one.expect("a certificate")).collect();
    let tls = trusting(trusted).expect("certificates that can be trusted");
    let http = client_builder(Duration::from_secs(2)).tls_backend_preconfigured(tls).build().expect("a client");
    http.get(url).send().await.map_err(CallFailure::from).expect_err("the request cannot be sent")
}

#[track_caller]
fn assert_step(failure: CallFailure, step: ConnectStep) {
    assert_eq!(failure, CallFailure::Unreachable(step));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    assert_step(failure("https://nothing.invalid/", "").await, ConnectStep::Dns);
}

#[tokio::test]
async fn a_closed_port_is_a_refused_tcp_connection() {
    for url in ["http://127.0.0.1:1/", "https://localhost:1/"] {
        assert_step(failure(url, "").await, ConnectStep::TcpRefused);
    }
}

#[tokio::test]
async fn a_host_that_accepts_and_stays_silent_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    assert_step(failure(&format!("https://{address}/"), "").await, ConnectStep::Timeout);
}

#[tokio::test]
async fn a_host_that_speaks_no_tls_is_a_failed_handshake() {
    let node = PexipSimulator::start().await;
    let url = node.management_url().to_string().replace("http:", "https:");
    assert_step(failure(&url, "").await, ConnectStep::TlsHandshake);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_reported_by_its_fault() {
    let authority = Authority::with_intermediate_expiring_in(900);
    let usual = Order::default();
    let orders = [
        (Order { begins_in: -30, ends_in: -3, ..usual }, CertificateFault::Expired),
        (Order { begins_in: 3, ..usual }, CertificateFault::NotYetValid),
        (Order { name: "other.example.org", ..usual }, CertificateFault::WrongName),
        (Order { with_intermediate: false, ..usual }, CertificateFault::UnknownIssuer),
    ];
    for (order, fault) in orders {
        let node = PexipSimulator::start_tls(&authority.issue(order)).await;
        let failure = failure(node.management_url().as_ref(), &authority.pem()).await;
        assert_step(failure, ConnectStep::Certificate(fault));
    }
    for (certificate, fault) in
        [(SelfSigned::new(), CertificateFault::UnknownIssuer), (SelfSigned::authority(), CertificateFault::Other)]
    {
        let node = PexipSimulator::start_tls(&certificate).await;
        let failure = failure(node.management_url().as_ref(), "").await;
        assert_step(failure, ConnectStep::Certificate(fault));
    }
}

#[tokio::test]
async fn the_step_is_in_the_log_and_not_in_the_answers() {
    let authority = Authority::with_intermediate_expiring_in(900);
    let expired = Order { begins_in: -30, ends_in: -3, ..Order::default() };
    let node = PexipSimulator::start_tls(&authority.issue(expired)).await;
    let file = PemFile::of(&authority.pem());
    let settings = TestApp::with().set("PEXIP_MANAGEMENT_URL", node.management_url()).set("PEXIP_CA_FILE", file.path());
    let (app, program) = settings.start_program().await;

    let created = app.create_room().await;
    let ready = app.send(app.request(Method::GET, "health/ready")).await;

    let maintained = app.send(app.request(Method::POST, "function_pool_maintenance")).await;

    for (answer, status) in [(&created, 503), (&ready, 503), (&maintained, 200)] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!format!("{answer:?}").contains("expired"), "{answer:?}");
    }
    let reported = |field: &str, message: &str| {
        program.events().iter().any(|event| {
            let text = event[field].as_str().unwrap_or_default();
            event["message"] == message && text.contains("cannot be reached (TLS: certificate expired)")
        })
    };
    eventually("both are in the log", async || {
        reported("cause", "request") && reported("error", "a dependency is not ready")
    })
    .await;
}
