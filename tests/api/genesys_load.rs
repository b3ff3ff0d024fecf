//! Look-ups at Genesys: single-flight, lifetimes of verdicts, waits asked for, circuit breaker and outages.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, GenesysToken, Matching, Times};
use tokio::task::JoinHandle;

use crate::support::{
    Answer, TOKENS_ME, TestApp, USERS_ME, assert_agent_refused, eventually, stop_time, time_passes, within,
};

pub(super) const INVALID: (u16, &str) = (401, "token_invalid");
pub(super) const UNAVAILABLE: (u16, &str) = (503, "genesys_unavailable");

/// Lifetimes and pauses of the contract, in seconds.
pub(super) const FRESH_FOR: u64 = 60;
const REFUSED_FOR: u64 = 30;
const CIRCUIT_OPEN_FOR: u64 = 5;

pub(super) async fn start() -> TestApp {
    start_with_cache(FRESH_FOR).await
}

async fn start_with_cache(seconds: u64) -> TestApp {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_CACHE_SECONDS", seconds).start().await;
    app.insert_handed_out_room();
    app
}

pub(super) async fn seconds_pass(seconds: u64) {
    time_passes(Duration::from_secs(seconds)).await;
}

pub(super) fn always(app: &TestApp, fault: Fault) {
    app.genesys.traffic().inject(Matching::any(), Times::Always, fault);
}

fn asking_to_wait(status: u16, retry_after: &str) -> Fault {
    let headers = vec![("retry-after".to_owned(), retry_after.to_owned())];
    Fault::StatusWith { status, headers, body: String::new() }
}

/// Starts a request in the background.
pub(super) fn spawn_read(app: &TestApp, token: &str) -> JoinHandle<Answer> {
    let request = app.agent_read_request(token);
    tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await })
}

pub(super) async fn all(reads: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    within("all reads", join_all(reads)).await.into_iter().map(|answer| answer.expect("no panic")).collect()
}

/// Lets the requests in flight reach the service.
pub(super) async fn others_have_their_turn(app: &TestApp) {
    for _ in 0..20 {
        app.send(app.request(reqwest::Method::GET, "health/live")).await;
    }
}

#[tokio::test]
async fn concurrent_requests_with_one_token_share_one_look_up() {
    for (name, fault, calls) in [
        ("good", None, (1, 1)),
        ("unknown", Some((TOKENS_ME, Fault::Status(401))), (1, 0)),
        ("forbidden", Some((USERS_ME, Fault::Status(403))), (1, 1)),
        ("rubbish", Some((USERS_ME, Fault::Rubbish)), (1, 1)),
        ("down", Some((USERS_ME, Fault::Status(503))), (1, 1)),
    ] {
        let app = start().await;
        let _time = stop_time();
        app.genesys.traffic().inject(Matching::any().path_contains(TOKENS_ME), Times::N(1), Fault::Stall);
        let token = app.genesys.issue_token();
        let first = spawn_read(&app, &token);
        eventually("the look-up is in progress", async || app.genesys_calls() == (1, 0)).await;
        let others: Vec<_> = (0..20).map(|_| spawn_read(&app, &token)).collect();
        others_have_their_turn(&app).await;
        if let Some((TOKENS_ME, _)) = &fault {
            app.genesys.revoke(&token);
        }
        app.genesys.traffic().heal();
        if let Some((USERS_ME, fault)) = fault {
            app.genesys.traffic().inject(Matching::any().path_contains(USERS_ME), Times::Once, fault);
        }

        let first = all(vec![first]).await.remove(0);
        for other in all(others).await {
            assert_eq!((other.status, other.json()["code"].as_str()), (first.status, first.json()["code"].as_str()));
        }
        assert_eq!(app.genesys_calls(), calls, "{name}");
    }
}

#[tokio::test]
async fn a_look_up_completes_when_its_caller_disconnects() {
    let app = start().await;
    always(&app, Fault::Slow(Duration::from_millis(300)));
    let token = app.genesys.issue_token();
    for _ in 0..5 {
        let departing = spawn_read(&app, &token);
        eventually("the look-up is in progress", async || app.genesys_calls() >= (1, 0)).await;
        others_have_their_turn(&app).await;
        departing.abort();
    }
    let others: Vec<_> = (0..5).map(|_| spawn_read(&app, &token)).collect();
    for answer in all(others).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(app.genesys_calls(), (1, 1), "one look-up for all callers");
}

#[tokio::test]
async fn an_acceptance_is_fresh_for_its_lifetime_and_no_longer() {
    let app = start().await;
    let _time = stop_time();
    let token = app.genesys.issue_token();
    assert_eq!(app.read_as_agent(&token).await.status, 200);
    app.genesys.revoke(&token);
    seconds_pass(FRESH_FOR - 2).await;
    assert_eq!(app.read_as_agent(&token).await.status, 200);
    assert_eq!(app.genesys_calls(), (1, 1));
    seconds_pass(2).await;
    assert_agent_refused(&app.read_as_agent(&token).await, INVALID, "revoked");
    assert_eq!(app.genesys_calls(), (2, 1));
}

#[tokio::test]
async fn a_refusal_is_fresh_for_its_lifetime_and_no_longer() {
    for (path, status, refusal) in [(TOKENS_ME, 401, INVALID), (USERS_ME, 403, (403, "not_permitted"))] {
        let app = start().await;
        let _time = stop_time();
        let token = app.genesys.issue_token();
        app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, Fault::Status(status));
        assert_agent_refused(&app.read_as_agent(&token).await, refusal, path);
        let calls = app.genesys_calls();
        seconds_pass(REFUSED_FOR - 2).await;
        assert_agent_refused(&app.read_as_agent(&token).await, refusal, path);
        assert_eq!(app.genesys_calls(), calls, "{path}");
        seconds_pass(2).await;
        assert_eq!(app.read_as_agent(&token).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_a_cache_every_request_asks_genesys_and_no_verdict_is_served_stale() {
    let app = start_with_cache(0).await;
    let _time = stop_time();
    let token = app.genesys.issue_token();
    for reads in 1..=4 {
        assert_eq!(app.read_as_agent(&token).await.status, 200);
        assert_eq!(app.genesys_calls(), (reads, reads));
    }
    always(&app, Fault::Status(503));
    assert_agent_refused(&app.read_as_agent(&token).await, UNAVAILABLE, "down");
    app.genesys.traffic().heal();
    app.genesys.revoke(&token);
    assert_agent_refused(&app.read_as_agent(&token).await, INVALID, "revoked");
}

#[tokio::test]
async fn a_verdict_expires_with_its_token_even_in_an_outage() {
    // Tokens idle out by wall clocks, which go on: a verdict ends earlier by the time that passes until it is there.
    const FRESH_FOR: u64 = 1200;
    const MARGIN: u64 = 20;
    let app = start_with_cache(FRESH_FOR).await;
    let _time = stop_time();
    let short = app.genesys.issue(GenesysToken::default().idles_in(Duration::from_secs(FRESH_FOR / 2)));
    let longer = app.genesys.issue(GenesysToken::default().idles_in(Duration::from_secs(FRESH_FOR * 3 / 2)));
    for token in [&short, &longer] {
        assert_eq!(app.read_as_agent(token).await.status, 200);
    }
    assert_eq!(app.genesys_calls(), (2, 2));
    seconds_pass(FRESH_FOR / 2 - MARGIN).await;
    assert_eq!(app.read_as_agent(&short).await.status, 200);
    assert_eq!(app.genesys_calls(), (2, 2));
    seconds_pass(MARGIN).await;
    // The simulator's clock has not moved: it still knows the token.
    assert_eq!(app.read_as_agent(&short).await.status, 200);
    assert_eq!(app.genesys_calls(), (3, 3));

    always(&app, Fault::Status(503));
    seconds_pass(FRESH_FOR - MARGIN).await;
    assert_eq!(app.read_as_agent(&longer).await.status, 200);
    seconds_pass(MARGIN).await;
    assert_agent_refused(&app.read_as_agent(&longer).await, UNAVAILABLE, "past its end");
}

#[tokio::test]
async fn a_stale_acceptance_is_served_in_an_outage_until_it_expires() {
    for (name, fault) in [
        ("error", Fault::Status(503)),
        ("limit", asking_to_wait(429, "1")),
        ("broken connections", Fault::HangUpBefore),
        ("error of the second call", Fault::StatusAfter(500)),
    ] {
        let app = start().await;
        let _time = stop_time();
        let token = app.genesys.issue_token();
        assert_eq!(app.read_as_agent(&token).await.status, 200);
        always(&app, fault);
        seconds_pass(FRESH_FOR).await;
        // Many enough for the breaker to open, which is an outage as well.
        for _ in 0..7 {
            assert_eq!(app.read_as_agent(&token).await.status, 200, "{name}");
        }
        assert_agent_refused(&app.read_as_agent(&app.genesys.issue_token()).await, UNAVAILABLE, name);
        seconds_pass(FRESH_FOR - 2).await;
        assert_eq!(app.read_as_agent(&token).await.status, 200, "{name}");
        seconds_pass(2).await;
        assert_agent_refused(&app.read_as_agent(&token).await, UNAVAILABLE, name);

        app.genesys.traffic().heal();
        seconds_pass(CIRCUIT_OPEN_FOR).await;
        assert_eq!(app.read_as_agent(&token).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_stale_acceptance_is_served_only_in_an_outage() {
    for (name, fault, at_first, afterwards) in [
        ("no longer known", Fault::Status(401), INVALID, INVALID),
        ("no longer permitted", Fault::Status(403), (403, "not_permitted"), (403, "not_permitted")),
    ] {
        let app = start().await;
        let _time = stop_time();
        let token = app.genesys.issue_token();
        assert_eq!(app.read_as_agent(&token).await.status, 200);
        seconds_pass(FRESH_FOR).await;
        app.genesys.traffic().inject(Matching::any(), Times::Once, fault);
        assert_agent_refused(&app.read_as_agent(&token).await, at_first, name);
        always(&app, Fault::Status(503));
        assert_agent_refused(&app.read_as_agent(&token).await, afterwards, name);
        seconds_pass(REFUSED_FOR).await;
        assert_agent_refused(&app.read_as_agent(&token).await, UNAVAILABLE, name);
    }
    let app = start().await;
    let _time = stop_time();
    let token = app.genesys.issue_token();
    assert_eq!(app.read_as_agent(&token).await.status, 200);
    seconds_pass(FRESH_FOR).await;
    app.genesys.traffic().inject(Matching::any(), Times::Once, Fault::Rubbish);
    assert_agent_refused(&app.read_as_agent(&token).await, (502, "genesys_invalid"), "rubbish");
}

#[tokio::test]
async fn a_429_holds_back_its_own_token_and_no_other() {
    for (path, asked, wait) in
        [(TOKENS_ME, "42", 42), (USERS_ME, "42", 42), (TOKENS_ME, "0", 1), (TOKENS_ME, "3600", 60), (TOKENS_ME, "", 5)]
    {
        let context = format!("{path} {asked}");
        let app = start().await;
        let _time = stop_time();
        let over_its_limit = app.genesys.issue_token();
        app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Once, asking_to_wait(429, asked));
        let answer = app.read_as_agent(&over_its_limit).await;
        assert_agent_refused(&answer, UNAVAILABLE, &context);
        assert_eq!(answer.header("retry-after"), wait.to_string(), "{context}");

        assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200, "{context}: another agent");
        app.genesys.traffic().clear();
        let answer = app.read_as_agent(&over_its_limit).await;
        assert_agent_refused(&answer, UNAVAILABLE, &context);
        assert_eq!(answer.header("retry-after"), wait.to_string(), "{context}");
        if wait > 2 {
            seconds_pass(wait - 2).await;
            let answer = app.read_as_agent(&over_its_limit).await;
            assert_agent_refused(&answer, UNAVAILABLE, &context);
            assert_eq!(answer.header("retry-after"), "2", "{context}");
        }
        assert_eq!(app.genesys_calls(), (0, 0), "{context}");
        seconds_pass(wait.min(2)).await;
        assert_eq!(app.read_as_agent(&over_its_limit).await.status, 200, "{context}");
    }
}

#[tokio::test]
async fn an_agent_who_is_answered_429_again_and_again_holds_back_nobody_else() {
    let app = start().await;
    let _time = stop_time();
    let over_its_limit = app.genesys.issue_token();
    always(&app, asking_to_wait(429, "1"));
    for _ in 0..20 {
        assert_agent_refused(&app.read_as_agent(&over_its_limit).await, UNAVAILABLE, "over its limit");
        seconds_pass(1).await;
    }
    assert_eq!(app.genesys_calls(), (20, 0));
    app.genesys.traffic().heal();
    for _ in 0..3 {
        assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200);
    }
}

#[tokio::test]
async fn a_429_for_token_after_token_is_an_outage() {
    let app = start().await;
    let _time = stop_time();
    always(&app, asking_to_wait(429, "42"));
    for _ in 0..10 {
        assert_agent_refused(&app.read_as_agent(&app.genesys.issue_token()).await, UNAVAILABLE, "limited");
    }
    assert_eq!(app.genesys_calls(), (5, 0));
    app.genesys.traffic().heal();
    seconds_pass(CIRCUIT_OPEN_FOR).await;
    assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200);
}

#[tokio::test]
async fn five_failures_open_the_circuit_and_one_look_up_probes_it() {
    for (path, fault) in [
        (TOKENS_ME, Fault::Status(503)),
        (USERS_ME, Fault::Status(500)),
        (TOKENS_ME, Fault::HangUpBefore),
        (TOKENS_ME, Fault::HangUpAfter),
    ] {
        let context = format!("{path} {fault:?}");
        let app = start().await;
        let _time = stop_time();
        let known = app.genesys.issue_token();
        assert_eq!(app.read_as_agent(&known).await.status, 200);
        let tokens: Vec<_> = (0..10).map(|_| app.genesys.issue_token()).collect();
        app.genesys.traffic().clear();
        app.genesys.traffic().inject(Matching::any().path_contains(path), Times::Always, fault.clone());
        for token in &tokens {
            let answer = app.read_as_agent(token).await;
            assert_agent_refused(&answer, UNAVAILABLE, &context);
            let wait_named: u64 = answer.header("retry-after").parse().expect("seconds");
            assert!((1..=CIRCUIT_OPEN_FOR).contains(&wait_named), "{context}: {wait_named}");
        }
        // The connection of the first look was closed under the next one, which is repeated.
        let asked = if matches!(fault, Fault::HangUpBefore | Fault::HangUpAfter) { 6 } else { 5 };
        assert_eq!(app.genesys_calls().0, asked, "{context}");
        assert_eq!(app.read_as_agent(&known).await.status, 200, "{context}");

        // A probe that fails: left alone again.
        seconds_pass(CIRCUIT_OPEN_FOR).await;
        for answer in all(tokens.iter().map(|token| spawn_read(&app, token)).collect()).await {
            assert_agent_refused(&answer, UNAVAILABLE, &context);
        }
        assert_eq!(app.genesys_calls().0, asked + 1, "{context}");

        // One that goes well: all are looked up again. What a token comes to does not matter.
        seconds_pass(CIRCUIT_OPEN_FOR).await;
        app.genesys.traffic().heal();
        assert_agent_refused(&app.read_as_agent("an-unknown-token-at-all").await, INVALID, &context);
        for answer in all(tokens.iter().map(|token| spawn_read(&app, token)).collect()).await {
            assert_eq!(answer.status, 200, "{context}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_resets_the_count_of_failures() {
    let app = start().await;
    let _time = stop_time();
    for number in 0..12 {
        let fault = if number % 2 == 0 { Fault::Status(503) } else { Fault::Status(401) };
        app.genesys.traffic().inject(Matching::any(), Times::Once, fault);
        app.read_as_agent(&app.genesys.issue_token()).await;
    }
    assert_eq!(app.genesys_calls(), (12, 0));
    assert_eq!(app.read_as_agent(&app.genesys.issue_token()).await.status, 200);
}
