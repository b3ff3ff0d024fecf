//! The bound on concurrent requests, and the shares of agents and Conferencing Nodes.

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use crate::instant::{continued, dial, instant, look_up_request, made_up};
use crate::support::{Answer, Call, IDIM_CREATE, TestApp, eventually, stop_time, within};

#[tokio::test]
async fn agents_reads_leave_requests_to_creates() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 4).start().await;
    let name = app.create_room().await.room();
    app.pexip.traffic().inject(Matching::method(Method::GET).query_contains(&name), Times::Always, Fault::Stall);
    let reads: Vec<_> = (0..6)
        .map(|_| {
            let read = app.request(Method::GET, &format!("public/room/{name}"));
            tokio::spawn(read.header("x-auth-token", app.genesys.issue_token()).send())
        })
        .collect();
    eventually("reads are refused", async || reads.iter().filter(|read| read.is_finished()).count() >= 4).await;
    let created = app.create_room().await;
    assert_eq!(created.status, 200, "{created:?}");
    app.pexip.traffic().heal();
    let mut statuses = Vec::new();
    for read in reads {
        statuses.push(within("an answer", read).await.expect("no panic").expect("an answer").status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503]);
}

#[tokio::test]
async fn look_ups_of_made_up_names_leave_requests_to_creates_and_to_other_calls() {
    let app = instant().set("MAX_CONCURRENT_REQUESTS", 4).start().await;
    let room = app.create_room().await.room();
    app.blobs.traffic().inject(Call::InstantRead.matching(), Times::Always, Fault::Stall);
    // A look-up has 1.9 s for its record.
    let time = stop_time();
    let look_up = |number| look_up_request(&app, &[("local_alias", &made_up(&room, number))]);
    let asked: Vec<_> = (0..6).map(|number| tokio::spawn(look_up(number).send())).collect();
    eventually("look-ups are refused", async || asked.iter().filter(|ask| ask.is_finished()).count() >= 4).await;

    let created = app.create_room().await;
    let foreign = dial(&app, "boardroom").await;

    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(foreign, continued());
    app.blobs.traffic().heal();
    let mut statuses = Vec::new();
    for ask in asked {
        statuses.push(within("an answer", ask).await.expect("no panic").expect("an answer").status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503]);
    drop(time);
}

#[tokio::test]
async fn requests_above_the_concurrency_limit_are_overloaded() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 1).start().await;
    app.pexip.traffic().inject(Matching::any(), Times::Once, Fault::Stall);
    let token = app.entra.token().build();
    let ask = || app.request(Method::POST, IDIM_CREATE.path).bearer_auth(&token);
    let stalled = tokio::spawn(ask().send());
    eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
    let reads = (0..5).map(|_| app.send(app.request(Method::GET, "public/room/x").header("x-auth-token", "x")));
    for answer in join_all((0..5).map(|_| app.send(ask()))).await.into_iter().chain(join_all(reads).await) {
        answer.assert_problem(503, "overloaded");
    }
    app.pexip.traffic().heal();
    let answer = Answer::read(within("an answer", stalled).await.expect("no panic").expect("an answer")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(app.send(ask()).await.status, 200);
}
