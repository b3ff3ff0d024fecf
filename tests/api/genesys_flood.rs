//! Floods of made-up tokens: bounds on look-ups at Genesys, for each address and over all.

use std::time::Duration;

use maxconf_simulators::Fault;
use tokio::task::JoinHandle;

use crate::genesys_load::{
    FRESH_FOR, INVALID, UNAVAILABLE, all, always, others_have_their_turn, seconds_pass, spawn_read, start,
};
use crate::support::{Answer, TestApp, assert_agent_refused, eventually, stop_time, time_passes, within};

const RATE_LIMITED: (u16, &str) = (429, "rate_limited");

/// Timers end up to a millisecond late.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// How long an unknown token waits in line.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Bound on concurrent look-ups of tokens that one address sends and Genesys has never accepted.
const SLOTS_OF_ADDRESS: usize = 8;

/// The same over all addresses.
const SLOTS_OF_UNKNOWN: usize = 12;

/// The widget's requests at a time, by default.
const WIDGETS_SHARE: usize = 256;

/// Look-ups of such tokens at once, and then for each second: of one address, and of all.
const AT_ONCE: usize = 300;
const EACH_SECOND: usize = 20;
const AT_ONCE_OF_ALL: usize = 600;
const EACH_SECOND_OF_ALL: usize = 40;

/// What the gateway writes the caller's address into.
const ADDRESS: &str = "x-client-address-of-the-gateway";

async fn start_behind_a_gateway() -> TestApp {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("CLIENT_ADDRESS_HEADER", ADDRESS).start().await;
    app.insert_handed_out_room();
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
async fn a_flood_from_four_addresses_keeps_no_agent_at_a_fifth_out_while_genesys_is_slow() {
    let app = start_behind_a_gateway().await;
    let _time = stop_time();
    always(&app, Fault::Stall);
    let flood: Vec<_> = (0..240)
        .map(|number| {
            let address = format!("203.0.113.{}", number % 4);
            spawn_read_from(&app, &address, &format!("a-made-up-token-{number:05}"))
        })
        .collect();
    eventually("the flood is looked up", async || app.genesys_calls().0 == SLOTS_OF_UNKNOWN).await;
    let waiting = || flood.iter().filter(|read| !read.is_finished()).count();
    eventually("half of the widget's requests is free", async || waiting() <= WIDGETS_SHARE / 2).await;
    let agent = spawn_read_from(&app, "198.51.100.1", &app.genesys.issue_token());
    others_have_their_turn(&app).await;
    app.genesys.traffic().heal();
    let answer = within("an answer", agent).await.expect("no panic");
    assert_eq!(answer.status, 200, "at another address: {answer:?}");
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
