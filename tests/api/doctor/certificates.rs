//! Certificates of every kind, on each system.

use maxconf_simulators::{Authority, Order, PexipSimulator, SelfSigned, World};
use serde_json::Value;

use super::{a_healthy_world, assert_found, examine, texts, with_healthy_service};
use crate::support::PemFile;

const SYSTEMS: [&str; 5] = ["pexip", "storage", "records", "entra", "genesys"];

/// The report for a world in which this machine trusts only the certificates in `trusted`.
async fn found(world: World, trusted: &str) -> (Value, Option<i32>) {
    let (_world, mut settings) = with_healthy_service(world);
    let file = PemFile::of(trusted);
    settings.insert("SSL_CERT_FILE", file.path());
    examine(&settings).await
}

#[track_caller]
fn assert_texts(what: &str, report: &Value, says: &str, to_do: &str) {
    for system in SYSTEMS {
        let (said, remedy) = texts(report, &format!("{system}/certificate"));
        assert!(said.contains(says), "{what}: {system} says {said:?}");
        let setting = if system == "pexip" { "PEXIP_CA_FILE" } else { "SSL_CERT_FILE" };
        let to_do = to_do.replace("{setting}", setting);
        assert!(
            remedy.contains(&to_do) && to_do.is_empty() == remedy.is_empty(),
            "{what}: {system} has the remedy {remedy:?}"
        );
    }
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_own_text() {
    let at_each = SYSTEMS.map(|system| format!("{system}/certificate"));
    let at_each = at_each.each_ref().map(String::as_str);
    let (none, all): (&[&str], &[&str]) = (&[], &at_each);
    let usual = Order::default();
    let soon = Order { ends_in: 20, ..usual };
    let expired = Order { begins_in: -30, ends_in: -3, ..usual };
    let future = Order { begins_in: 3, ..usual };
    let other_name = Order { name: "other.example.org", ..usual };
    let incomplete = Order { with_intermediate: false, ..usual };
    let with_root = Order { with_root: true, ..usual };
    let with_an_old_one = Order { with_an_old_one: true, ..usual };
    let renew = "renew the certificate";
    let send = "configure the host to send its intermediate certificates";
    for (what, order, intermediate, is_trusted, not_fine, warnings, says, to_do) in [
        ("a valid one", usual, 900, true, none, none, "trusted; the first of 2 to expire", ""),
        ("an expired one that is not needed", with_an_old_one, 900, true, none, none, "the first of 3 to expire", ""),
        ("expires soon", soon, 900, true, none, all, "trusted, but expires in 20 days", renew),
        ("its issuer expires soon", usual, 10, true, none, all, "trusted, but expires in 10 days", renew),
        ("expired", expired, 900, true, all, none, "its certificate expired on 20", renew),
        ("its issuer expired", usual, -3, true, all, none, "a certificate of its issuer expired on 20", renew),
        ("not valid yet", future, 900, true, all, none, "not valid yet", "check the clock of this machine"),
        ("another name", other_name, 900, true, all, none, "for another name", "check the address in the settings"),
        ("an incomplete chain", incomplete, 900, true, all, none, "its chain of 1 ends before", send),
        (
            "an unknown authority",
            with_root,
            900,
            false,
            all,
            none,
            "ends at an authority that is not trusted here",
            "{setting}",
        ),
        (
            "an unknown authority that is not sent",
            usual,
            900,
            false,
            all,
            none,
            "its chain of 2 ends before",
            "{setting}",
        ),
    ] {
        let authority = Authority::with_intermediate_expiring_in(intermediate);
        let world = World::start_tls(&authority.issue(order)).await;
        let trusted = if is_trusted { authority.pem() } else { SelfSigned::new().pem().to_owned() };

        let found = found(world, &trusted).await;

        assert_found(what, &found, not_fine, warnings);
        assert_texts(what, &found.0, says, to_do);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_reported_as_such() {
    for certificate in [SelfSigned::new(), SelfSigned::authority()] {
        let found = found(World::start_tls(&certificate).await, SelfSigned::new().pem()).await;

        let not_fine = SYSTEMS.map(|system| format!("{system}/certificate"));
        assert_found("self-signed", &found, &not_fine.each_ref().map(String::as_str), &[]);
        assert_texts(
            "self-signed",
            &found.0,
            "its certificate is self-signed",
            "add it to the file that {setting} names",
        );
    }
}

#[tokio::test]
async fn a_self_signed_management_node_is_trusted_until_its_certificate_expires() {
    for (what, certificate, is_trusted, not_fine, warnings) in [
        ("a valid one", SelfSigned::expiring_in(31), true, &[][..], &[][..]),
        ("expires soon", SelfSigned::expiring_in(29), true, &[], &["pexip/certificate"]),
        ("expired", SelfSigned::expiring_in(-3), true, &["pexip/certificate"], &[]),
        ("not trusted", SelfSigned::new(), false, &["pexip/certificate"], &[]),
    ] {
        let (_world, mut settings) = a_healthy_world().await;
        let node = PexipSimulator::start_tls(&certificate).await;
        let file = PemFile::of(certificate.pem());
        settings.insert("PEXIP_MANAGEMENT_URL", node.management_url().to_string());
        settings.insert("POOL_TARGET_SIZE", "0".to_owned());
        for off in ["ROOM_AUTOMATIC_PARTICIPANTS", "PEXIP_EVENT_USERNAME", "PEXIP_EVENT_PASSWORD"] {
            settings.remove(off);
        }
        if is_trusted {
            settings.insert("PEXIP_CA_FILE", file.path());
        }

        let found = examine(&settings).await;

        assert_found(what, &found, not_fine, warnings);
        assert_eq!(is_trusted, !node.traffic().log().is_empty(), "{what}: only a trusted node gets requests");
    }
}
