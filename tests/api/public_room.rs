use maxconf_simulators::{Matching, StoredRoom};
use reqwest::Method;

use crate::support::{TAG, TestApp, citizen};

#[tokio::test]
async fn the_agent_sees_the_room_that_idim_got() {
    let app = TestApp::start().await;
    let created = app.create_room().await;

    let seen = app.public_room(&created.room()).await;

    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.json(), created.json());
    assert_eq!(seen.json()["tag"], TAG);
    assert_eq!(seen.header("cache-control"), "no-store");
}

#[tokio::test]
async fn every_read_fetches_the_tag_from_pexip() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    app.public_room(&name).await;
    let (_, other_tag) = citizen(7);
    let room = app.pexip.remove(&name).expect("the room");
    app.pexip.insert(StoredRoom { tag: other_tag.clone(), ..room });

    assert_eq!(app.public_room(&name).await.json()["tag"], other_tag);
}

#[tokio::test]
async fn a_room_still_in_the_pool_is_not_found() {
    let app = TestApp::start().await;
    app.fill_pool().await;
    let pooled = app.pexip.rooms().remove(0);

    app.public_room(&pooled.name).await.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn unknown_foreign_and_malformed_names_are_the_same_answer() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).start().await;
    app.pexip.insert(StoredRoom::named("boardroom").tagged(TAG));

    let mut bodies = Vec::new();
    for name in ["vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "boardroom", "vbv-1", "%ff", "VBV-01JD5P3XK8QQQQQQQQQQQQQQQQ"] {
        let mut problem = app.public_room(name).await.assert_problem(404, "room_not_found");
        problem["request_id"].take();
        bodies.push(problem);
    }

    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    let asked = app.pexip.traffic().count(&Matching::method(Method::GET));
    assert_eq!(asked, 1, "Pexip is asked only for names with the prefix");
}

#[tokio::test]
async fn a_deleted_room_is_not_shown_any_more() {
    let app = TestApp::start().await;
    let name = app.create_room().await.room();
    app.delete_room(&name).await;

    app.public_room(&name).await.assert_problem(404, "room_not_found");
}
