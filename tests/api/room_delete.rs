use std::time::{Duration, SystemTime};

use maxconf::domain::RoomNamePrefix;
use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Method;

use crate::support::{HANDED_OUT, TAG, TestApp, eventually, time_passes, time_passes_until};

const OURS: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

#[tokio::test]
async fn a_deleted_room_is_gone_and_its_conference_ended() {
    for command_status in [200, 202] {
        let app = TestApp::start().await;
        let name = app.create_room().await.room();
        app.pexip.set_disconnect_status(command_status);
        app.pexip.join(&name, Role::Guest);

        let answer = app.delete_room(&name).await;

        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{answer:?}");
        assert!(app.pexip.room(&name).is_none());
        assert!(!app.pexip.is_running(&name));
    }
}

#[tokio::test]
async fn the_room_is_removed_before_its_call_is_disconnected() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    app.pexip.join(&name, Role::Guest);

    app.delete_room(&name).await;

    let log = app.pexip.traffic().log();
    let removed = log.iter().position(|exchange| exchange.method == Method::DELETE).expect("a delete");
    let disconnected = log.iter().position(|exchange| exchange.path.contains("disconnect")).expect("a disconnect");
    assert!(removed < disconnected, "otherwise a participant could join again in between");
}

#[tokio::test]
async fn a_delete_is_in_the_queue_before_the_room_is_removed() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    let put = Matching::method(Method::POST).path_contains("-ended/messages");
    app.queue.traffic().inject(put.clone(), Times::Once, Fault::Stall);
    let reads = async {
        eventually("the message is being put", async || app.queue.traffic().count(&put) > 0).await;
        assert_eq!(app.pexip.traffic().count(&Matching::method(Method::DELETE)), 0);
        app.queue.traffic().heal();
    };
    let (answer, ()) = tokio::join!(app.delete_room(&name), reads);

    assert_eq!(answer.status, 204);
    let texts: Vec<_> = app.queue.messages("room-creation-queue-ended").into_iter().map(|it| it.text).collect();
    assert_eq!(texts, [format!("deleted {name}")]);
    app.delete_room(&name).await.assert_problem(404, "room_not_found");
    assert_eq!(
        app.queue.messages("room-creation-queue-ended").len(),
        1,
        "nothing is begun for a room that is not there"
    );
}

#[tokio::test]
async fn a_delete_is_carried_out_while_the_queue_is_out_of_order() {
    for fault in [Fault::Status(503), Fault::HangUpBefore, Fault::Stall] {
        let app = TestApp::start().await;
        let name = app.create_room().await.room();
        app.pexip.join(&name, Role::Guest);
        app.queue.traffic().inject(Matching::any(), Times::Always, fault.clone());
        let waits = async {
            let put = Matching::any().path_contains("-ended");
            eventually("the message is being put", async || app.queue.traffic().count(&put) > 0).await;
            if fault == Fault::Stall {
                time_passes(Duration::from_secs(3)).await;
            }
        };
        let (answer, ()) = tokio::join!(app.delete_room(&name), waits);

        assert_eq!(answer.status, 204, "{fault:?}");
        assert!(app.pexip.room(&name).is_none() && !app.pexip.is_running(&name));
    }
}

#[tokio::test]
async fn a_delete_that_pexip_fails_is_carried_out_later() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let name = app.create_room().await.room();
    app.pexip.join(&name, Role::Guest);
    // After the first failure, which may be an answer lost, the delete is repeated.
    app.pexip.traffic().inject(Matching::method(Method::DELETE), Times::N(2), Fault::Status(500));
    app.delete_room(&name).await.assert_problem(503, "pexip_unavailable");

    time_passes_until("the room is gone", &app, async || app.pexip.room(&name).is_none()).await;
    time_passes_until("its call is ended", &app, async || !app.pexip.is_running(&name)).await;
}

#[tokio::test]
async fn a_room_that_was_never_there_is_not_found() {
    let app = TestApp::start().await;

    app.delete_room(OURS).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn deleting_twice_finds_nothing_the_second_time() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();

    assert_eq!(app.delete_room(&name).await.status, 204);
    app.delete_room(&name).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn a_room_that_vanishes_between_look_up_and_delete_counts_as_deleted() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    app.pexip.traffic().inject(Matching::method(Method::DELETE), Times::Once, Fault::Status(404));

    assert_eq!(app.delete_room(&name).await.status, 204);
}

#[tokio::test]
async fn foreign_and_malformed_names_are_not_found_and_pexip_is_not_asked() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.pexip.insert(StoredRoom::named("boardroom").tagged(TAG));
    app.pexip.insert(StoredRoom::named("edge-01jd5p3xk8qqqqqqqqqqqqqqqq"));

    for name in [
        "boardroom",
        "edge-01jd5p3xk8qqqqqqqqqqqqqqqq",
        "vbv-",
        "41",
        "create",
        "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq%2f",
        "%ff",
        "*",
    ] {
        app.delete_room(name).await.assert_problem(404, "room_not_found");
    }

    assert_eq!(app.pexip.rooms().len(), 2);
    assert_eq!(app.pexip.traffic().count(&Matching::any()), 0);
}

#[tokio::test]
async fn only_the_room_itself_is_deleted_never_the_collection() {
    let app = TestApp::start().await;
    app.fill_pool().await;
    let name = app.create_room().await.room();
    let id = app.pexip.room(&name).expect("the room").id;

    app.delete_room(&name).await;

    let deleted: Vec<_> =
        app.pexip.traffic().log().into_iter().filter(|exchange| exchange.method == Method::DELETE).collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].path, format!("/api/admin/configuration/v1/conference/{id}/"));
}

#[tokio::test]
async fn a_call_that_cannot_be_disconnected_does_not_fail_the_delete() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    app.pexip.join(&name, Role::Guest);
    app.pexip.traffic().inject(Matching::any().path_contains("/status/"), Times::Always, Fault::Status(500));

    assert_eq!(app.delete_room(&name).await.status, 204);
    assert!(app.pexip.room(&name).is_none());
}

#[tokio::test]
async fn each_failure_of_pexip_has_its_answer() {
    for (fault, status, code) in [
        (Fault::Status(401), 502, "pexip_refused"),
        (Fault::Status(403), 502, "pexip_refused"),
        (Fault::Redirect("/accounts/login/".into()), 502, "pexip_refused"),
        (Fault::Status(400), 502, "pexip_refused"),
        (Fault::Rubbish, 502, "pexip_invalid"),
        (Fault::HugeBody(9 * 1024 * 1024), 502, "pexip_invalid"),
        (Fault::Status(429), 503, "pexip_unavailable"),
        (Fault::Status(500), 503, "pexip_unavailable"),
        (Fault::Status(503), 503, "pexip_unavailable"),
        (Fault::HangUpBefore, 503, "pexip_unavailable"),
        (Fault::Stall, 504, "pexip_timeout"),
    ] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1).start().await;
        app.pexip.traffic().inject(Matching::any(), Times::Always, fault);

        app.delete_room(OURS).await.assert_problem(status, code);
        app.public_room(OURS).await.assert_problem(status, code);
    }
}

#[tokio::test]
async fn a_node_that_is_down_is_unavailable_and_one_that_asks_for_time_gets_it() {
    for (asked, asked_for) in [("17", "17"), ("Fri, 31 Dec 9999 23:59:59 GMT", "60"), ("soon", "5")] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
        let headers = vec![("Retry-After".into(), asked.into())];
        let busy = Fault::StatusWith { status: 429, headers, body: String::new() };
        app.pexip.traffic().inject(Matching::any(), Times::Always, busy);
        let answer = app.delete_room(OURS).await;
        answer.assert_problem(503, "pexip_unavailable");
        assert_eq!(answer.header("retry-after"), asked_for, "{asked}");
    }

    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.pexip.stop().await;
    app.delete_room(OURS).await.assert_problem(503, "pexip_unavailable");
}

#[tokio::test]
async fn only_a_get_is_repeated_when_its_reused_connection_was_closed() {
    // After a lost answer the service reads the room and deletes it again, with an eye on its name.
    for (method, faults, calls, status) in [(Method::GET, 1, 2, 204), (Method::DELETE, 2, 2, 503)] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
        let name = app.create_room().await.room();
        app.pexip.traffic().clear();
        let of_room = Matching::method(method.clone()).path_contains("/configuration/v1/conference/");
        app.pexip.traffic().inject(of_room.clone(), Times::N(faults), Fault::HangUpBefore);
        assert_eq!(app.delete_room(&name).await.status, status, "{method}");
        assert_eq!(app.pexip.traffic().count(&of_room), calls, "{method}");
    }
}

#[tokio::test]
async fn a_missing_room_is_remembered_for_deletes_and_for_seconds_only() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let reads = || app.pexip.traffic().count(&Matching::method(Method::GET).query_contains(HANDED_OUT));

    app.delete_room(HANDED_OUT).await.assert_problem(404, "room_not_found");
    app.delete_room(HANDED_OUT).await.assert_problem(404, "room_not_found");
    assert_eq!(reads(), 1);

    app.insert_handed_out_room();
    assert_eq!(app.public_room(HANDED_OUT).await.status, 200);
    eventually("it is looked up again", async || app.delete_room(HANDED_OUT).await.status == 204).await;
}

#[tokio::test]
async fn a_room_that_may_still_be_made_or_come_back_is_not_remembered_as_missing() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    let prefix = RoomNamePrefix::parse("vbv-").expect("a prefix");
    let being_made = prefix.mint(SystemTime::now(), &mut StdRng::seed_from_u64(1));
    app.delete_room(being_made.as_str()).await.assert_problem(404, "room_not_found");
    app.pexip.insert(StoredRoom::named(being_made.as_str()).tagged(TAG));
    assert_eq!(app.delete_room(being_made.as_str()).await.status, 204);

    app.delete_room(HANDED_OUT).await.assert_problem(404, "room_not_found");
    app.pexip.traffic().inject(Matching::any(), Times::Once, Fault::Status(500));
    assert_eq!(app.public_room(HANDED_OUT).await.status, 503);
    app.insert_handed_out_room();
    assert_eq!(app.delete_room(HANDED_OUT).await.status, 204, "the node may have come back from a backup");
}
