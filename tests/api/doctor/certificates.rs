//! Certificates of every kind, at each system.

use maxconf_simulators::{Authority, Order, PexipSimulator, SelfSigned, World};
use serde_json::Value;

use super::{a_healthy_world, assert_found, examine, lines, made_healthy};
use crate::support::PemFile;

const SYSTEMS: [&str; 4] = ["pexip", "storage", "entra", "genesys"];

/// What is found where each system shows a certificate, and this machine trusts another one.
async fn found(world: World, trusted: &str) -> (Value, Option<i32>) {
    let (_world, mut settings) = made_healthy(world);
    let file = PemFile::of(trusted);
    settings.insert("SSL_CERT_FILE", file.path());
    examine(&settings).await
}

#[track_caller]
fn assert_said(what: &str, report: &Value, says: &str, to_do: &str) {
    for system in SYSTEMS {
        let (said, advice) = lines(report, &format!("{system}/certificate"));
        assert!(said.contains(says), "{what}: {system} says {said:?}");
        let setting = if system == "pexip" { "PEXIP_CA_FILE" } else { "SSL_CERT_FILE" };
        let to_do = to_do.replace("{setting}", setting);
        assert!(
            advice.contains(&to_do) && to_do.is_empty() == advice.is_empty(),
            "{what}: {system} advises {advice:?}"
        );
    }
}

#[tokio::test]
async fn certificates_of_an_authority_are_told_apart_by_what_is_wrong_with_them() {
    let at_each = SYSTEMS.map(|system| format!("{system}/certificate"));
    let at_each = at_each.each_ref().map(String::as_str);
    let (none, all): (&[&str], &[&str]) = (&[], &at_each);
    let usual = Order::default();
    let soon = Order { ends_in: 20, ..usual };
    let ended = Order { begins_in: -30, ends_in: -3, ..usual };
    let later = Order { begins_in: 3, ..usual };
    let elsewhere = Order { name: "other.example.org", ..usual };
    let alone = Order { with_intermediate: false, ..usual };
    let with_root = Order { with_root: true, ..usual };
    let with_an_old_one = Order { with_an_old_one: true, ..usual };
    let renew = "have its certificate renewed";
    let show = "have it show its intermediate certificates too";
    for (what, order, intermediate, is_trusted, not_fine, warnings, says, to_do) in [
        ("a good one", usual, 900, true, none, none, "trusted; the first of 2 to end", ""),
        ("with what is not needed", with_an_old_one, 900, true, none, none, "trusted; the first of 3 to end", ""),
        ("ends soon", soon, 900, true, none, all, "trusted, but ends in 20 days", renew),
        ("its issuer ends soon", usual, 10, true, none, all, "trusted, but ends in 10 days", renew),
        ("has ended", ended, 900, true, all, none, "its certificate has expired on 20", renew),
        (
            "its issuer has ended",
            usual,
            -3,
            true,
            all,
            none,
            "a certificate that vouches for its own has expired on 20",
            renew,
        ),
        ("not yet", later, 900, true, all, none, "not valid yet", "check the clock of this machine"),
        ("another name", elsewhere, 900, true, all, none, "for another name", "check the address in the settings"),
        ("an incomplete chain", alone, 900, true, all, none, "the chain of 1 that it shows ends before", show),
        (
            "an unknown authority",
            with_root,
            900,
            false,
            all,
            none,
            "to an authority that is not trusted here",
            "{setting}",
        ),
        (
            "one that is not shown",
            usual,
            900,
            false,
            all,
            none,
            "the chain of 2 that it shows ends before",
            "{setting}",
        ),
    ] {
        let authority = Authority::with_intermediate_ending_in(intermediate);
        let world = World::start_tls(&authority.issue(order)).await;
        let trusted = if is_trusted { authority.pem() } else { SelfSigned::new().pem().to_owned() };

        let found = found(world, &trusted).await;

        assert_found(what, &found, not_fine, warnings);
        assert_said(what, &found.0, says, to_do);
    }
}

#[tokio::test]
async fn a_certificate_that_vouches_for_itself_is_told_from_an_unknown_authority() {
    for certificate in [SelfSigned::new(), SelfSigned::authority()] {
        let found = found(World::start_tls(&certificate).await, SelfSigned::new().pem()).await;

        let not_fine = SYSTEMS.map(|system| format!("{system}/certificate"));
        assert_found("a stranger", &found, &not_fine.each_ref().map(String::as_str), &[]);
        assert_said("a stranger", &found.0, "its certificate vouches for itself", "into the file that {setting} names");
    }
}

#[tokio::test]
async fn a_management_node_may_vouch_for_itself_as_long_as_its_certificate_lasts() {
    for (what, certificate, is_trusted, not_fine, warnings) in [
        ("a good one", SelfSigned::ending_in(31), true, &[][..], &[][..]),
        ("ends soon", SelfSigned::ending_in(29), true, &[], &["pexip/certificate"]),
        ("has ended", SelfSigned::ending_in(-3), true, &["pexip/certificate"], &[]),
        ("a stranger", SelfSigned::new(), false, &["pexip/certificate"], &[]),
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
        assert_eq!(is_trusted, !node.traffic().log().is_empty(), "{what}: a node that is not trusted gets no request");
    }
}
