//! What `maxconf pool drain` deletes, and what it keeps.

use std::time::Duration;

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::json;

use super::{
    a_world_of_all_kinds, assert_failed, assert_succeeded, everything, handed_out, mark, name, names, put_into_pool,
    ready, result, room, run, run_with, start,
};
use crate::support::{POOL_QUEUE, World, eventually};

#[tokio::test]
async fn drain_deletes_every_ready_room_and_message() {
    let world = World::start().await;
    assert_succeeded(&run_with(&world, "fill", &[("POOL_TARGET_SIZE", "40")]).await);

    let ended = run_with(&world, "drain --yes --json", &[("PEXIP_REQUESTS_PER_MINUTE", "600")]).await;

    assert_succeeded(&ended);
    assert_eq!(
        result(&ended),
        json!({
            "dry_run": false, "deleted": 40, "without_room": 0, "handed_out": 0, "occupied": 0, "changed": 0,
            "unmarked": 0, "foreign": 0, "lost": 0, "out_of_sight": 0, "left_to_sweep": 0,
        })
    );
    assert_eq!(everything(&world), (vec![], vec![]));
}

#[tokio::test]
async fn drain_keeps_rooms_that_are_in_use_or_not_ours() {
    let world = a_world_of_all_kinds().await;
    let occupied = |number| {
        put_into_pool(&world, ready(number));
        name(number)
    };
    world.pexip.join(&occupied(20), Role::Guest);
    world.pexip.wait_for_pin(&occupied(21));
    put_into_pool(&world, handed_out(22, 60));
    put_into_pool(&world, ready(23).tagged("https://id.gov.bc.ca/idcheck/somebody"));
    put_into_pool(&world, room(24, "a note of an operator"));
    world.queue.put(POOL_QUEUE, &name(25));
    world.queue.put(POOL_QUEUE, "boardroom");
    let before = world.pexip.rooms();

    let ended = run(&world, "drain --yes --json").await;

    assert_succeeded(&ended);
    assert_eq!(
        result(&ended),
        json!({
            "dry_run": false, "deleted": 3, "without_room": 1, "handed_out": 2, "occupied": 2, "changed": 0,
            "unmarked": 1, "foreign": 2, "lost": 0, "out_of_sight": 0, "left_to_sweep": 4,
        })
    );
    let deleted: Vec<_> = (1..=3).map(name).collect();
    let kept: Vec<_> = before.into_iter().filter(|room| !deleted.contains(&room.name)).collect();
    assert_eq!(world.pexip.rooms(), kept);
    let mut left: Vec<_> = world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    left.sort();
    assert_eq!(left, ["boardroom".to_owned(), "junk".to_owned(), name(24)]);
    for exchange in world.pexip.traffic().log() {
        let collection = exchange.path.ends_with("/conference/");
        assert!(exchange.method != Method::DELETE || !collection, "{exchange:?}");
    }
}

#[tokio::test]
async fn each_room_is_read_again_before_drain_deletes_it() {
    for change in [
        (|room: StoredRoom| room.tagged("https://id.gov.bc.ca/idcheck/another")) as fn(StoredRoom) -> StoredRoom,
        |room| room.described(mark("handed-out", 0)),
        |room| StoredRoom { name: "boardroom".into(), ..room },
    ] {
        let world = World::start().await;
        put_into_pool(&world, ready(1));
        let id = world.pexip.room(&name(1)).expect("the room").id;
        let read = Matching::method(Method::GET).path_contains(format!("/configuration/v1/conference/{id}/"));
        world.pexip.traffic().inject(read.clone(), Times::Once, Fault::Stall);

        let changed = async {
            eventually("the room is read again", async || world.pexip.traffic().count(&read) == 1).await;
            let room = world.pexip.remove(&name(1)).expect("the room");
            world.pexip.insert(StoredRoom { id: room.id, ..change(room) });
            world.pexip.traffic().heal();
        };
        let (ended, ()) = tokio::join!(run(&world, "drain --yes --json"), changed);

        assert_succeeded(&ended);
        assert_eq!((&result(&ended)["changed"], &result(&ended)["deleted"]), (&json!(1), &json!(0)));
        assert_eq!(world.pexip.traffic().count(&Matching::method(Method::DELETE)), 0);
    }
}

#[tokio::test]
async fn drain_keeps_a_room_whose_claim_was_not_confirmed() {
    let claim = Matching::method(Method::DELETE).path_contains("/messages/");
    let world = World::start().await;
    put_into_pool(&world, ready(1));
    // The claim succeeds, but its answer is lost; the retry finds no message.
    world.queue.traffic().inject(claim, Times::Once, Fault::HangUpAfter);

    let ended = run(&world, "drain --yes --json").await;

    assert_succeeded(&ended);
    let drained = result(&ended);
    assert_eq!([&drained["lost"], &drained["deleted"], &drained["left_to_sweep"]], [1, 0, 1]);
    assert_eq!(names(&world), [name(1)]);
}

#[tokio::test]
async fn drain_waits_for_hidden_messages_up_to_a_limit() {
    let world = World::start().await;
    for (number, hidden) in [(1, Duration::from_secs(1)), (2, Duration::from_secs(600))] {
        world.pexip.insert(ready(number));
        world.queue.put_hidden(POOL_QUEUE, &name(number), hidden);
    }

    let ended = run_with(&world, "drain --yes --json", &[("POOL_LEASE_SECONDS", "3")]).await;

    assert_failed(&ended, "1 messages stay hidden or leased. Stop the instances");
    assert_eq!((&result(&ended)["deleted"], &result(&ended)["out_of_sight"]), (&json!(1), &json!(1)));
    assert_eq!(names(&world), [name(2)]);
}

#[tokio::test]
async fn drain_deletes_nothing_without_a_confirmation() {
    let world = World::start().await;
    put_into_pool(&world, ready(1));

    for command in ["drain", "drain --json"] {
        let ended = run(&world, command).await;

        assert_failed(&ended, "--yes");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    assert!(world.queue.traffic().log().is_empty() && world.pexip.traffic().log().is_empty());
}

#[tokio::test]
async fn a_stopped_drain_can_be_run_again() {
    let world = World::start().await;
    for number in 1..=3 {
        put_into_pool(&world, ready(number));
    }
    let deletion = Matching::method(Method::DELETE);
    world.pexip.traffic().inject(deletion.clone(), Times::Always, Fault::Stall);
    let program = start(&world, "drain --yes", &[]);

    eventually("a room is being deleted", async || world.pexip.traffic().count(&deletion) == 1).await;
    program.signal("INT");
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(world.pexip.rooms().len(), 3);
    let mut leased: Vec<_> = world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    leased.sort();
    assert_eq!(leased, [name(2), name(3)], "the first was claimed; its room is left to the sweep");

    world.queue.advance(Duration::from_secs(60));
    world.pexip.traffic().heal();
    assert_succeeded(&run(&world, "drain --yes").await);
    assert!(world.queue.messages(POOL_QUEUE).is_empty());
}
