//! A management node whose certificate vouches for itself, as it does after installation.

use maxconf_simulators::{PexipSimulator, SelfSigned};

use crate::support::{PemFile, TestApp, TestAppBuilder, eventually};

fn service_at(node: &PexipSimulator) -> TestAppBuilder {
    TestApp::with().set("PEXIP_MANAGEMENT_URL", node.management_url())
}

#[tokio::test]
async fn a_self_signed_node_is_trusted_by_its_certificate_in_the_ca_file() {
    check_trust_by_ca_file(SelfSigned::new()).await;
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_marked_as_an_authority_is_the_nodes_own_all_the_same() {
    check_trust_by_ca_file(SelfSigned::authority()).await;
}

async fn check_trust_by_ca_file(certificate: SelfSigned) {
    let node = PexipSimulator::start_tls(&certificate).await;
    let file = PemFile::of(certificate.pem());
    let app = service_at(&node).set("PEXIP_CA_FILE", file.path()).start().await;

    app.fill_pool().await;
    let answer = app.create_room().await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(node.room(&answer.room()).is_some());
    let ready =
        async || app.send(app.request(reqwest::Method::GET, "health/ready")).await.json()["checks"]["pexip"] == "ok";
    eventually("Pexip is found ready", ready).await;
}

#[tokio::test]
async fn several_certificates_may_stand_in_the_ca_file() {
    let (older, newer) = (SelfSigned::new(), SelfSigned::new());
    let node = PexipSimulator::start_tls(&newer).await;
    let file = PemFile::of(&[older.pem(), newer.pem()].concat());
    let app = service_at(&node).set("PEXIP_CA_FILE", file.path()).start().await;

    app.fill_pool().await;
}

#[tokio::test]
async fn a_self_signed_node_is_not_trusted_otherwise_and_gets_no_password() {
    let node = PexipSimulator::start_tls(&SelfSigned::new()).await;
    let another = PemFile::of(SelfSigned::new().pem());
    for ca_file in [String::new(), another.path()] {
        let app = service_at(&node).set("PEXIP_CA_FILE", ca_file).start().await;

        assert_eq!(app.create_room().await.status, 503);

        let health = app.send(app.request(reqwest::Method::GET, "health/ready")).await;
        assert_eq!((health.status.as_u16(), &health.json()["checks"]["pexip"]), (503, &"failing".into()));
    }
    assert!(node.traffic().log().is_empty(), "no request came through");
}
