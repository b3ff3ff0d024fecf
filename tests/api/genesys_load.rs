//! Look-ups at Genesys: single-flight, lifetimes of verdicts, rate limits, circuit breaker and outages.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, GenesysToken, Matching, Times};
use tokio::task::JoinHandle;

use crate::support::{
    Answer, TOKENS_ME, TestApp, USERS_ME, assert_agent_refused, eventually, stop_time, time_passes, within,
};

const INVALID: (u16, &str) = (401, "token_invalid");
const UNAVAILABLE: (u16, &str) = (503, "genesys_unavailable");
const RATE_LIMITED: (u16, &str) = (429, "rate_limited");

/// Lifetimes and pauses of the contract, in seconds.
const FRESH_FOR: u64 = 60;
const REFUSED_FOR: u64 = 30;
const CIRCUIT_OPEN_FOR: u64 = 5;

/// How long an unknown token waits in line.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Timers end up to a millisecond late.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// Bound on concurrent look-ups of tokens that one address sends and Genesys has never accepted.
const SLOTS_OF_ADDRESS: usize = 8;

/// Look-ups of such tokens at once, and then for each second: of one address, and of all.
const AT_ONCE: usize = 300;
const EACH_SECOND: usize = 20;
const AT_ONCE_OF_ALL: usize = 600;
const EACH_SECOND_OF_ALL: usize = 40;

/// What the gateway writes the caller's address into.
const ADDRESS: &str = "x-client-address-of-the-gateway";

async fn start() -> TestApp {
    start_with_cache(FRESH_FOR).await
}

async fn start_with_cache(seconds: u64) -> TestApp {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("GENESYS_CACHE_SECONDS", seconds).start().await;
    app.has_handed_out_a_room();
    app
}

async fn seconds_pass(seconds: u64) {
    time_passes(Duration::from_secs(seconds)).await;
}

fn always(app: &TestApp, fault: Fault) {
    app.genesys.traffic().inject(Matching::any(), Times::Always, fault);
}

fn asking_to_wait(status: u16, retry_after: &str) -> Fault {
    let headers = vec![("retry-after".to_owned(), retry_after.to_owned())];
    Fault::StatusWith { status, headers, body: String::new() }
}

/// Starts a request in the background.
fn spawn_read(app: &TestApp, token: &str) -> JoinHandle<Answer> {
    let request = app.agent_read_request(token);
    tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await })
}

async fn all(reads: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    within("all reads", join_all(reads)).await.into_iter().map(|answer| answer.expect("no panic")).collect()
}

/// Lets the requests in flight reach the service.
async fn others_have_their_turn(app: &TestApp) {
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
    let app = start().await;
    let _time = stop_time();
    let short = app.genesys.issue(GenesysToken::default().idles_in(Duration::from_secs(FRESH_FOR / 2)));
    let longer = app.genesys.issue(GenesysToken::default().idles_in(Duration::from_secs(FRESH_FOR * 3 / 2)));
    for token in [&short, &longer] {
        assert_eq!(app.read_as_agent(token).await.status, 200);
    }
    assert_eq!(app.genesys_calls(), (2, 2));
    seconds_pass(FRESH_FOR / 2 - 2).await;
    assert_eq!(app.read_as_agent(&short).await.status, 200);
    assert_eq!(app.genesys_calls(), (2, 2));
    seconds_pass(2).await;
    // The simulator's clock has not moved: it still knows the token.
    assert_eq!(app.read_as_agent(&short).await.status, 200);
    assert_eq!(app.genesys_calls(), (3, 3));

    always(&app, Fault::Status(503));
    seconds_pass(FRESH_FOR - 2).await;
    assert_eq!(app.read_as_agent(&longer).await.status, 200);
    seconds_pass(2).await;
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

async fn start_behind_a_gateway() -> TestApp {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("CLIENT_ADDRESS_HEADER", ADDRESS).start().await;
    app.has_handed_out_a_room();
    app
}

/// Starts a look in the background, from an address if there is one.
fn spawn_read_from(app: &TestApp, address: &str, token: &str) -> JoinHandle<Answer> {
    let request = app.agent_read_request(token).header(ADDRESS, address);
    tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await })
}

/// Looks with so many made-up tokens, all of which Genesys is asked about. `address` gives each its address.
async fn made_up_tokens_are_refused(app: &TestApp, range: std::ops::Range<usize>, address: impl Fn(usize) -> String) {
    let numbers: Vec<_> = range.collect();
    for some in numbers.chunks(50) {
        let read = |number: &usize| spawn_read_from(app, &address(*number), &format!("a-made-up-token-{number:05}"));
        for answer in all(some.iter().map(read).collect()).await {
            assert_agent_refused(&answer, INVALID, "made up");
        }
    }
}

/// Lets this time pass in steps, between which the service works.
async fn time_passes_in_steps(app: &TestApp, seconds: u64) {
    for _ in 0..seconds * 10 {
        time_passes(Duration::from_millis(100) + TIMER_GRAIN).await;
        others_have_their_turn(app).await;
    }
}

#[tokio::test]
async fn a_flood_of_tokens_is_bounded_in_slots_and_waits_for_a_bounded_time() {
    let app = start().await;
    let _time = stop_time();
    let known = app.genesys.issue_token();
    assert_eq!(app.read_as_agent(&known).await.status, 200);
    app.genesys.traffic().clear();
    always(&app, Fault::Stall);
    let tokens = (0..40).map(|number| format!("an-unknown-token-{number:03}"));
    let reads: Vec<_> = tokens.map(|token| spawn_read(&app, &token)).collect();
    eventually("the first look-ups are in progress", async || app.genesys_calls() == (SLOTS_OF_ADDRESS, 0)).await;
    others_have_their_turn(&app).await;
    assert_eq!(app.genesys_calls(), (SLOTS_OF_ADDRESS, 0));
    assert_eq!(app.read_as_agent(&known).await.status, 200);
    assert_eq!(reads.iter().filter(|read| read.is_finished()).count(), 0, "the others wait");
    // Each call takes 3 s at most: the first ones end, and others have their turn.
    app.genesys.traffic().heal();
    for answer in all(reads).await {
        assert_agent_refused(&answer, INVALID, "unknown");
    }
    always(&app, Fault::Stall);
    let tokens = (100..140).map(|number| format!("an-unknown-token-{number:03}"));
    let reads: Vec<_> = tokens.map(|token| spawn_read(&app, &token)).collect();
    eventually("the first look-ups are in progress", async || app.genesys_calls() == (40 + SLOTS_OF_ADDRESS, 0)).await;
    others_have_their_turn(&app).await;
    time_passes(LONGEST_WAIT + TIMER_GRAIN).await;
    for answer in all(reads).await {
        assert_agent_refused(&answer, UNAVAILABLE, "Genesys does not answer");
    }
}

#[tokio::test]
async fn a_flood_from_one_address_leaves_look_ups_to_the_others_while_genesys_is_slow() {
    let app = start_behind_a_gateway().await;
    let _time = stop_time();
    always(&app, Fault::Stall);
    let flood: Vec<_> =
        (0..40).map(|number| spawn_read_from(&app, "203.0.113.7", &format!("a-made-up-token-{number:05}"))).collect();
    eventually("the flood is looked up", async || app.genesys_calls().0 >= SLOTS_OF_ADDRESS).await;
    others_have_their_turn(&app).await;
    assert_eq!(app.genesys_calls(), (SLOTS_OF_ADDRESS, 0));
    let agent = spawn_read_from(&app, "198.51.100.1", &app.genesys.issue_token());
    eventually("the agent is looked up", async || app.genesys_calls() == (SLOTS_OF_ADDRESS + 1, 0)).await;
    app.genesys.traffic().heal();
    assert_eq!(within("an answer", agent).await.expect("no panic").status, 200);
    all(flood).await;
}

#[tokio::test]
async fn a_flood_from_one_address_keeps_no_agent_at_another_out() {
    let app = start_behind_a_gateway().await;
    let _time = stop_time();
    made_up_tokens_are_refused(&app, 0..AT_ONCE, |number| format!("203.0.113.7:{}", 1024 + number)).await;
    let calls = app.genesys_calls().0;
    // Far more than the line holds.
    let flood: Vec<_> = (0..200)
        .map(|number| spawn_read_from(&app, "203.0.113.7", &format!("another-made-up-token-{number}")))
        .collect();
    others_have_their_turn(&app).await;
    assert_eq!(app.genesys_calls().0, calls, "one address has no more than its share");
    let now = tokio::time::Instant::now();
    for number in 0..40 {
        let agent = spawn_read_from(&app, &format!("198.51.100.{number}"), &app.genesys.issue_token());
        assert_eq!(within("an answer", agent).await.expect("no panic").status, 200, "at another address");
    }
    assert_eq!(now.elapsed(), Duration::ZERO, "nobody waited");
    time_passes_in_steps(&app, LONGEST_WAIT.as_secs() + 1).await;
    let answers = all(flood).await;
    let (refused, limited): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 401);
    assert!(refused.len() >= 2 * EACH_SECOND, "{} of the flood had their turn", refused.len());
    assert!(!limited.is_empty(), "the line is bounded");
    for answer in limited {
        assert_agent_refused(&answer, RATE_LIMITED, "the line is full, or the wait is over");
    }
}

#[tokio::test]
async fn agents_who_share_an_address_with_a_flood_wait_in_line_and_are_not_refused() {
    for (header, address) in [("x-other", "x"), (ADDRESS, "unknown"), (ADDRESS, "203.0.113.7, 198.51.100.1")] {
        let app = start_behind_a_gateway().await;
        let _time = stop_time();
        made_up_tokens_are_refused(&app, 0..AT_ONCE, |_| "no address".to_owned()).await;
        let agents: Vec<_> = (0..40)
            .map(|_| {
                let request = app.agent_read_request(&app.genesys.issue_token()).header(header, address);
                tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await })
            })
            .collect();
        others_have_their_turn(&app).await;
        assert_eq!(app.genesys_calls(), (AT_ONCE, 0), "{address}: nobody has a turn yet");
        time_passes_in_steps(&app, 3).await;
        for answer in all(agents).await {
            assert_eq!(answer.status, 200, "{address}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_cap_holds_over_all_addresses() {
    let app = start_behind_a_gateway().await;
    let _time = stop_time();
    let address = |number: usize| format!("2001:db8:0:{number:x}::7");
    made_up_tokens_are_refused(&app, 0..AT_ONCE_OF_ALL, address).await;
    assert_eq!(app.genesys_calls(), (AT_ONCE_OF_ALL, 0));
    let waiting: Vec<_> = (1000..1060)
        .map(|number| spawn_read_from(&app, &address(number), &format!("a-made-up-token-{number:05}")))
        .collect();
    others_have_their_turn(&app).await;
    assert_eq!(app.genesys_calls(), (AT_ONCE_OF_ALL, 0));
    time_passes(Duration::from_secs(1) + TIMER_GRAIN).await;
    others_have_their_turn(&app).await;
    let calls = app.genesys_calls().0;
    assert!(calls <= AT_ONCE_OF_ALL + EACH_SECOND_OF_ALL, "{calls}");
    time_passes_in_steps(&app, 3).await;
    for answer in all(waiting).await {
        assert_agent_refused(&answer, INVALID, "after its wait");
    }
}

#[tokio::test]
async fn one_address_of_ipv6_is_a_whole_64() {
    let app = start_behind_a_gateway().await;
    let _time = stop_time();
    made_up_tokens_are_refused(&app, 0..AT_ONCE, |number| format!("2001:db8::{:x}", number + 1)).await;
    let one_more = spawn_read_from(&app, "[2001:db8::ffff]:443", "a-made-up-token-of-the-64");
    others_have_their_turn(&app).await;
    assert_eq!(app.genesys_calls(), (AT_ONCE, 0), "it waits");
    let other = spawn_read_from(&app, "2001:db8:0:1::1", "a-made-up-token-of-another-64");
    assert_agent_refused(&within("an answer", other).await.expect("no panic"), INVALID, "another /64");
    time_passes_in_steps(&app, 1).await;
    assert_agent_refused(&within("an answer", one_more).await.expect("no panic"), INVALID, "after its wait");
}

#[tokio::test]
async fn tokens_that_genesys_has_accepted_do_not_wait_in_line() {
    let app = start().await;
    let _time = stop_time();
    let known = app.genesys.issue_token();
    assert_eq!(app.read_as_agent(&known).await.status, 200);
    seconds_pass(FRESH_FOR).await;
    made_up_tokens_are_refused(&app, 0..AT_ONCE, |_| String::new()).await;
    let (calls, now) = (app.genesys_calls(), tokio::time::Instant::now());
    assert_eq!(app.read_as_agent(&known).await.status, 200);
    assert_eq!(app.genesys_calls(), (calls.0 + 1, calls.1 + 1));
    assert_eq!(now.elapsed(), Duration::ZERO);
}
