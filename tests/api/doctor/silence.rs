//! Systems that take a request and never answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times, Traffic, World};
use tokio::net::TcpListener;

use super::{a_healthy_world, assert_found, difference, examine, lines, traffics};

/// As long as it may take, whoever is silent.
const BOUND: Duration = Duration::from_secs(20);

/// Whose traffic.
type Of = fn(&World) -> &Traffic;

const PEXIP: Of = |world| world.pexip.traffic();
const STORAGE: Of = |world| world.queue.traffic();
const ENTRA: Of = |world| world.entra.traffic();
const GENESYS: Of = |world| world.genesys.traffic();

/// Each call, by whom it asks and a part of its path or query, and the check that must say so.
const CALLS: [(Of, &str, &str); 14] = [
    (PEXIP, "/configuration/v1/conference", "pexip/account"),
    (PEXIP, "/worker_vm", "pexip/release"),
    (PEXIP, "/configuration/v1/global", "pexip/pins"),
    (PEXIP, "/automatic_participant", "pexip/automatic_participants"),
    (PEXIP, "/event_sink", "pexip/event_sink"),
    (PEXIP, "/alarm", "pexip/event_sink"),
    (STORAGE, "/room-creation-queue", "storage/access"),
    (STORAGE, "/room-creation-queue-poison", "storage/other_queues"),
    (STORAGE, "/room-creation-queue-ended", "storage/other_queues"),
    (ENTRA, "eeee/.well-known", "entra/keys_v1"),
    (ENTRA, "v2.0/.well-known", "entra/keys_v2"),
    (ENTRA, "/discovery/keys", "entra/keys_v1"),
    (ENTRA, "/discovery/v2.0/keys", "entra/keys_v2"),
    (GENESYS, "/tokens/me", "genesys/api"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_call_that_is_not_answered_is_named() {
    let missed = CALLS.map(async |(of, path, check)| {
        let (world, settings) = a_healthy_world().await;
        of(&world).inject(Matching::any().path_contains(path), Times::Always, Fault::Stall);
        let begun = Instant::now();
        let found = examine(&settings).await;
        let took = begun.elapsed();
        let says = lines(&found.0, check).0.to_owned();
        difference(&found, &[check], &[])
            .or((took > BOUND).then(|| format!("it took {took:?}")))
            .or((!says.contains("in time")).then_some(says))
            .map(|wrong| format!("{path}: {wrong}"))
    });
    // All at once: they do nothing but wait.
    let missed: Vec<_> = join_all(missed).await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test]
async fn systems_that_never_answer_do_not_hold_it_up() {
    let (world, settings) = a_healthy_world().await;
    for traffic in traffics(&world) {
        traffic.inject(Matching::any(), Times::Always, Fault::Stall);
    }
    let begun = Instant::now();

    let found = examine(&settings).await;

    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let expected = ["pexip/account", "storage/access", "entra/keys_v1", "entra/keys_v2", "genesys/api"];
    assert_found("silence", &found, &expected, &[]);
}

#[tokio::test]
async fn hosts_that_take_a_connection_and_say_nothing_do_not_hold_it_up() {
    let (_world, mut settings) = a_healthy_world().await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = format!("https://127.0.0.1:{}/", silent.local_addr().expect("an address").port());
    for setting in ["PEXIP_MANAGEMENT_URL", "ENTRA_AUTHORITY_URL", "GENESYS_API_URL", "PoolStorage__queueServiceUri"] {
        settings.insert(setting, address.clone());
    }
    settings.remove("PoolStorage");
    let begun = Instant::now();

    let found = examine(&settings).await;

    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let systems =
        ["pexip/certificate", "storage/access", "storage/certificate", "entra/certificate", "genesys/certificate"];
    assert_found("silent hosts", &found, &systems, &[]);
    assert_eq!(lines(&found.0, "genesys/certificate").0, "the TLS handshake did not end in time");
}
