//! The rate limit of each authenticated caller, which applies before any call to another system.

use futures_util::future::join_all;
use maxconf_simulators::{GenesysToken, Matching};
use reqwest::Method;

use crate::support::{Answer, IDIM_CREATE, IDIM_ROUTES, TestApp, stop_time};

fn assert_limited(answer: &Answer) {
    answer.assert_problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    // Three a minute: one comes back every twenty seconds.
    assert!((1..=20).contains(&wait), "{answer:?}");
}

async fn limited_to_three() -> TestApp {
    TestApp::with().set("POOL_TARGET_SIZE", 0).set("RATE_LIMIT_PER_MINUTE", 3).start().await
}

/// A widget's read of a room, with a new token of this agent.
async fn read(app: &TestApp, room: &str, agent: &GenesysToken) -> Answer {
    let request = app.request(Method::GET, &format!("public/room/{room}"));
    let request = request.header("x-auth-token", app.genesys.issue(agent.clone()));
    app.send(request.header("origin", "https://agent.example.org")).await
}

#[tokio::test]
async fn a_client_has_one_rate_for_both_routes_and_all_its_tokens() {
    let app = limited_to_three().await;
    for number in 0..3 {
        let answer = app.create_room().await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
    }
    for traffic in [app.queue.traffic(), app.pexip.traffic(), app.genesys.traffic()] {
        traffic.clear();
    }
    for route in IDIM_ROUTES {
        for token in [app.entra.token().build(), app.entra.token().v1().build()] {
            assert_limited(&app.ask_idim(&route, format!("Bearer {token}")).await);
        }
    }
    app.assert_no_outside_calls("over the rate");

    let other = app.entra.token().claim("azp", "00000000-0000-0000-0000-00000000aaaa").build();
    assert_eq!(app.create_with(&other).await.status, 200, "another client has a rate of its own");
}

#[tokio::test]
async fn an_agent_has_a_rate_of_its_own() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("RATE_LIMIT_PER_MINUTE", 1);
    let app = app.set("PUBLIC_RATE_LIMIT_PER_MINUTE", 3).start().await;
    let room = app.create_room().await.room();
    let agent = GenesysToken::default();
    for _ in 0..3 {
        assert_eq!(read(&app, &room, &agent).await.status, 200);
    }
    app.pexip.traffic().clear();
    let answer = read(&app, &room, &agent).await;
    assert_limited(&answer);
    assert_eq!(answer.header("access-control-allow-origin"), "https://agent.example.org", "the widget can read it");
    assert_eq!(app.pexip.traffic().count(&Matching::any()), 0);
    assert_eq!(read(&app, &room, &GenesysToken::default()).await.status, 200);
    app.create_room().await.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn an_agent_may_look_120_times_a_minute_and_a_rate_of_zero_is_none() {
    for (setting, most) in [("", 120), ("0", 200)] {
        let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("RATE_LIMIT_PER_MINUTE", 0);
        let app =
            app.set("PEXIP_REQUESTS_PER_MINUTE", 10_000).set("PUBLIC_RATE_LIMIT_PER_MINUTE", setting).start().await;
        let room = app.create_room().await.room();
        let agent = GenesysToken::default();
        let _time = stop_time();
        for number in 0..most {
            assert_eq!(read(&app, &room, &agent).await.status, 200, "{setting:?}: {number}");
        }
        assert_eq!(read(&app, &room, &agent).await.status == 429, setting.is_empty(), "{setting:?}");
    }
}

#[tokio::test]
async fn unauthenticated_requests_do_not_count_against_a_rate() {
    let app = limited_to_three().await;
    for _ in 0..10 {
        app.create_with("a.b.c").await.assert_problem(401, "token_invalid");
        app.send(app.request(Method::POST, "room/create")).await.assert_problem(401, "token_missing");
        let without_role = app.entra.token().roles([]).build();
        app.create_with(&without_role).await.assert_problem(403, "not_permitted");
    }
    // What the caller itself does wrong counts.
    app.create_room_for("3").await.assert_problem(400, "uui_data_invalid");
    assert_eq!(app.create_room().await.status, 200);
    assert_eq!(app.create_room().await.status, 200);
    assert_limited(&app.create_room_for("3").await);
}

#[tokio::test]
async fn concurrent_requests_share_one_rate() {
    let app = limited_to_three().await;
    app.entra_keys_are_read().await;
    let token = app.entra.token().build();
    let ask = || app.request(IDIM_CREATE.method, IDIM_CREATE.path).bearer_auth(&token);
    let answers = join_all((0..12).map(|_| app.send(ask()))).await;
    let (good, limited): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(good.len(), 3, "{answers:?}");
    limited.into_iter().for_each(assert_limited);
}
