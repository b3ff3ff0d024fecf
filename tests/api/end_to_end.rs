//! The whole way of a room, from the timer that makes it to the delete that ends it, with more citizens at once than
//! the pool has rooms.

use std::collections::HashSet;

use reqwest::Method;
use tokio::task::JoinSet;

use crate::support::{Answer, TestApp, TestAppBuilder, citizen, eventually, on_every_host, within};

const POOL: usize = 4;
const CITIZENS: usize = 24;

#[tokio::test]
async fn a_pool_of_four_serves_twenty_four_citizens_and_is_filled_again() {
    on_every_host(service, citizens_meet_agents_and_the_pool_is_filled_again).await;
}

/// The service under this test, but for its queue.
pub(crate) fn service() -> TestAppBuilder {
    // The budget of calls to Pexip is not the subject here.
    TestApp::with().set("POOL_TARGET_SIZE", POOL).set("PEXIP_REQUESTS_PER_MINUTE", 10_000)
}

pub(crate) async fn citizens_meet_agents_and_the_pool_is_filled_again(app: &TestApp) {
    let queue = app.room_queue();
    app.fill_pool().await;
    assert_eq!(queue.approximate_count().await, Ok(POOL));
    assert_eq!(app.pexip.rooms().len(), POOL);

    let rooms = within("a room for every citizen", create_for_all(app)).await;

    let names: HashSet<_> = rooms.iter().map(|(answer, _)| answer.room()).collect();
    assert_eq!(names.len(), CITIZENS, "two citizens in one room: {rooms:?}");
    // The others are made directly, or by a refill that was quick enough.
    let from_pool = rooms.iter().filter(|(answer, _)| answer.header("room-source") == "pool").count();
    assert!(from_pool > 0, "the pool was not used: {rooms:?}");
    for (answer, tag) in &rooms {
        let name = answer.room();
        assert_eq!(answer.json()["tag"], tag.as_str());
        let mut written = app.pexip.tag_history(&name);
        written.dedup();
        assert_eq!(written, [tag.as_str()], "the room has only ever carried its own citizen's tag");

        let seen = app.public_room(&name).await;
        assert_eq!(seen.json(), answer.json(), "the agent sees what IDIM was given");
    }

    for (answer, _) in &rooms {
        let name = answer.room();
        assert_eq!(app.delete_room(&name).await.status, 204, "{name}");
        app.public_room(&name).await.assert_problem(404, "room_not_found");
        assert_eq!(app.pexip.room(&name), None);
    }

    eventually("the pool is full again", async || {
        app.maintain().await;
        queue.approximate_count().await == Ok(POOL)
            && app.pexip.rooms().iter().filter(|room| room.tag.is_empty()).count() == POOL
    })
    .await;
    assert_eq!(app.pexip.rooms().len(), POOL, "nothing is left of the rooms that were handed out");
}

/// All at the same moment, each with the tag that is to be written.
async fn create_for_all(app: &TestApp) -> Vec<(Answer, String)> {
    let mut creates = JoinSet::new();
    for number in 0..CITIZENS {
        let (uui_data, tag) = citizen(number);
        let request = app.request(Method::POST, &format!("room/create?uuiData={uui_data}"));
        let request = request.bearer_auth(app.entra.token().build());
        creates.spawn(async move { (Answer::read(request.send().await.expect("an answer")).await, tag) });
    }
    creates.join_all().await
}
