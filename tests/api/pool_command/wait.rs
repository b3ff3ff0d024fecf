//! `maxconf pool fill --wait`, the step after Pexip's nodes were started.

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::json;
use time::OffsetDateTime;

use super::{assert_failed, assert_succeeded, everything, put_into_pool, ready, result, run, run_with, start};
use crate::support::{World, eventually};

#[tokio::test]
async fn it_waits_for_the_node_and_for_rooms_that_can_be_joined() {
    for off in [Fault::HangUpBefore, Fault::Status(503), Fault::Rubbish] {
        let world = World::start().await;
        world.pexip.traffic().inject(Matching::any(), Times::Always, off);
        let program = start(&world, "fill --wait --json", &[("POOL_READY_DELAY_SECONDS", "2")]);
        eventually("it has asked twice", async || world.pexip.traffic().log().len() >= 2).await;
        assert!(world.pexip.rooms().is_empty());
        world.pexip.traffic().heal();

        let ended = program.ended().await;

        assert_eq!(ended.code, Some(0), "{ended:?}");
        let expected = json!({ "dry_run": false, "in_pool_before": 0, "to_make": 4, "made": 4, "joinable": 4 });
        assert_eq!(result(&ended), expected);
        let delay = time::Duration::seconds(2);
        let made_until = OffsetDateTime::now_utc() - delay;
        assert!(world.pexip.rooms().iter().all(|room| room.creation_time <= made_until), "rooms are replicated");
        assert!(ended.stderr.iter().any(|line| line.contains("waiting")), "{ended:?}");
    }
}

#[tokio::test]
async fn a_full_pool_is_not_waited_for() {
    let world = World::start().await;
    (1..=4).for_each(|number| put_into_pool(&world, ready(number)));
    let before = everything(&world);

    let ended = run(&world, "fill --wait").await;

    assert_succeeded(&ended);
    assert_eq!(ended.stdout, ["4 rooms are in the pool; none are missing.", "4 rooms can be joined."]);
    assert_eq!(everything(&world), before);
}

#[tokio::test]
async fn it_gives_up_at_its_limit_and_says_what_was_in_the_way() {
    let world = World::start().await;
    world.pexip.stop().await;
    assert_failed(&run(&world, "fill --wait=1").await, "Pexip cannot be reached (TCP: connection refused)");

    world.pexip.restart().await;
    let slow = run_with(&world, "fill --wait=3 --json", &[("POOL_READY_DELAY_SECONDS", "600")]).await;
    assert_eq!(slow.code, Some(1), "{slow:?}");
    assert!(slow.stderr.concat().contains("the time limit of one run is reached"), "{slow:?}");
}

#[tokio::test]
async fn it_does_not_wait_for_what_time_alone_does_not_mend() {
    let world = World::start().await;
    let refused = run_with(&world, "fill --wait", &[("PEXIP_PASSWORD", "not-the-password")]).await;
    assert_failed(&refused, "Pexip refuses our account (401)");

    world.queue.stop().await;
    assert_failed(&run(&world, "fill --wait").await, "check PoolStorage");
}

#[tokio::test]
async fn rooms_that_others_put_meanwhile_are_not_made_again() {
    let world = World::start().await;
    let busy =
        Fault::StatusWith { status: 429, headers: vec![("retry-after".into(), "20".into())], body: String::new() };
    world.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, busy);
    let program = start(&world, "fill --wait --json", &[]);
    eventually("it makes the first room", async || world.pexip.traffic().count(&Matching::method(Method::POST)) > 0)
        .await;
    (1..=4).for_each(|number| put_into_pool(&world, ready(number)));

    let ended = program.ended().await;

    assert_eq!(ended.code, Some(0), "{ended:?}");
    // One was in progress beside the one that Pexip refused.
    assert!(
        result(&ended)["made"].as_u64().is_some_and(|made| made <= 1) && world.pexip.rooms().len() <= 5,
        "{ended:?}"
    );
}
