//! Systems that accept a request and never answer.

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times, Traffic, World};
use tokio::net::TcpListener;

use super::{a_healthy_world, assert_found, difference, examine, texts, traffics};

type TrafficOf = fn(&World) -> &Traffic;

const PEXIP: TrafficOf = |world| world.pexip.traffic();
const STORAGE: TrafficOf = |world| world.queue.traffic();
const RECORDS: TrafficOf = |world| world.blobs.traffic();
const ENTRA: TrafficOf = |world| world.entra.traffic();
const GENESYS: TrafficOf = |world| world.genesys.traffic();

/// Each call, by its system and a part of its path or query, and the check that must report it.
const CALLS: [(TrafficOf, &str, &str); 16] = [
    (PEXIP, "/configuration/v1/conference", "pexip/account"),
    (PEXIP, "/worker_vm", "pexip/release"),
    (PEXIP, "/configuration/v1/global", "pexip/pins"),
    (PEXIP, "/automatic_participant", "pexip/automatic_participants"),
    (PEXIP, "/event_sink", "pexip/event_sink"),
    (PEXIP, "/alarm", "pexip/event_sink"),
    (PEXIP, "/system_location", "pexip/event_sink"),
    (STORAGE, "/room-creation-queue", "storage/access"),
    (STORAGE, "/room-creation-queue-poison", "storage/other_queues"),
    (STORAGE, "/room-creation-queue-ended", "storage/other_queues"),
    (RECORDS, "/room-records/probe", "records/access"),
    (ENTRA, "eeee/.well-known", "entra/keys_v1"),
    (ENTRA, "v2.0/.well-known", "entra/keys_v2"),
    (ENTRA, "/discovery/keys", "entra/keys_v1"),
    (ENTRA, "/discovery/v2.0/keys", "entra/keys_v2"),
    (GENESYS, "/tokens/me", "genesys/api"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_call_without_an_answer_is_reported_by_its_check() {
    let wrong = CALLS.map(async |(of, path, check)| {
        let (world, settings) = a_healthy_world().await;
        of(&world).inject(Matching::any().path_contains(path), Times::Always, Fault::Stall);
        let found = examine(&settings).await;
        let says = texts(&found.0, check).0.to_owned();
        difference(&found, &[check], &[])
            .or((!says.contains("in time")).then_some(says))
            .map(|difference| format!("{path}: {difference}"))
    });
    // All at once: each of them only waits.
    let wrong: Vec<_> = join_all(wrong).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn systems_that_never_answer_do_not_delay_the_report() {
    let (world, settings) = a_healthy_world().await;
    for traffic in traffics(&world) {
        traffic.inject(Matching::any(), Times::Always, Fault::Stall);
    }

    let found = examine(&settings).await;

    let expected =
        ["pexip/account", "storage/access", "records/access", "entra/keys_v1", "entra/keys_v2", "genesys/api"];
    assert_found("no answers", &found, &expected, &[]);
}

#[tokio::test]
async fn hosts_that_accept_a_connection_and_send_nothing_do_not_delay_the_report() {
    let (_world, mut settings) = a_healthy_world().await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = format!("https://127.0.0.1:{}/", silent.local_addr().expect("an address").port());
    for setting in [
        "PEXIP_MANAGEMENT_URL",
        "ENTRA_AUTHORITY_URL",
        "GENESYS_API_URL",
        "PoolStorage__queueServiceUri",
        "PoolStorage__blobServiceUri",
    ] {
        settings.insert(setting, address.clone());
    }
    settings.remove("PoolStorage");

    let found = examine(&settings).await;

    let systems = ["pexip", "storage", "records", "entra", "genesys"].map(|system| format!("{system}/certificate"));
    let systems: Vec<_> = systems.iter().map(String::as_str).chain(["storage/access"]).collect();
    assert_found("silent hosts", &found, &systems, &[]);
    assert_eq!(texts(&found.0, "genesys/certificate").0, "the TLS handshake did not finish in time");
}
