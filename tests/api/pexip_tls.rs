//! A management node whose certificate vouches for itself, as it does after installation.

use std::path::PathBuf;

use maxconf_simulators::{PexipSimulator, SelfSigned};
use tempfile::TempDir;

use crate::support::{TestApp, TestAppBuilder, eventually};

/// The certificate in a file, which lasts as long as its folder.
fn file(certificate: &SelfSigned) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, certificate.pem()).expect("a file");
    (folder, path)
}

fn service_at(node: &PexipSimulator) -> TestAppBuilder {
    TestApp::with().set("PEXIP_MANAGEMENT_URL", node.management_url())
}

#[tokio::test]
async fn a_self_signed_node_is_trusted_by_its_certificate_in_the_ca_file() {
    is_trusted_by_the_ca_file(SelfSigned::new()).await;
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_marked_as_an_authority_is_the_nodes_own_all_the_same() {
    is_trusted_by_the_ca_file(SelfSigned::authority()).await;
}

async fn is_trusted_by_the_ca_file(certificate: SelfSigned) {
    let node = PexipSimulator::start_tls(&certificate).await;
    let (_folder, path) = file(&certificate);
    let app = service_at(&node).set("PEXIP_CA_FILE", path.display()).start().await;

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
    let (_folder, path) = file(&older);
    std::fs::write(&path, format!("{}{}", older.pem(), newer.pem())).expect("a file");
    let app = service_at(&node).set("PEXIP_CA_FILE", path.display()).start().await;

    app.fill_pool().await;
}

#[tokio::test]
async fn a_self_signed_node_is_not_trusted_otherwise_and_gets_no_password() {
    let node = PexipSimulator::start_tls(&SelfSigned::new()).await;
    let (_folder, path_of_another) = file(&SelfSigned::new());
    for ca_file in [String::new(), path_of_another.display().to_string()] {
        let app = service_at(&node).set("PEXIP_CA_FILE", ca_file).start().await;

        assert_eq!(app.create_room().await.status, 503);

        let health = app.send(app.request(reqwest::Method::GET, "health/ready")).await;
        assert_eq!((health.status.as_u16(), &health.json()["checks"]["pexip"]), (503, &"failing".into()));
    }
    assert!(node.traffic().log().is_empty(), "no request came through");
}
