//! OAuth2 at the management node: when tokens are fetched, what becomes of calls meanwhile, and which settings it needs.

mod settings;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use maxconf_simulators::{Exchange, Fault, Matching, Times};
use reqwest::Method;

use crate::support::{Call, TestApp, TestAppBuilder, eventually, stop_time, time_between_readings_passes, time_passes};

const OURS: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

static READS: AtomicUsize = AtomicUsize::new(0);

const SECOND: Duration = Duration::from_secs(1);

/// A service that makes no calls to Pexip by itself.
fn without_pool() -> TestAppBuilder {
    TestApp::with().oauth2().set("POOL_TARGET_SIZE", 0).set("POOL_PREFETCH", 0)
}

impl TestApp {
    fn token_fetches(&self) -> usize {
        self.pexip.traffic().count(&Call::PexipToken.matching())
    }

    /// Calls to Pexip other than for tokens, each with its status.
    fn pexip_calls(&self) -> Vec<(Method, Option<u16>)> {
        let calls = self.pexip.traffic().log().into_iter().filter(|call| call.path != "/oauth/token/");
        calls.map(|call| (call.method, call.status)).collect()
    }

    /// A read of a room that does not exist: one call to Pexip.
    async fn one_call_succeeds(&self) {
        // Reads of one room at the same time would share a call.
        let number = READS.fetch_add(1, Ordering::Relaxed);
        let room = format!("vbv-01jd5p3xk8qqqqqqqqqqqqq{number:03}");
        self.public_room(&room).await.assert_problem(404, "room_not_found");
    }

    async fn one_call_fails(&self, status: u16, code: &str) {
        self.public_room(OURS).await.assert_problem(status, code);
    }
}

#[tokio::test]
async fn a_room_lives_from_fill_to_sweep_with_basic_switched_off_and_one_token() {
    let app = TestApp::with().oauth2().set("SWEEP_MARGIN_SECONDS", 0).start().await;
    app.warm_up().await;

    let room = app.create_room().await.room();
    assert_eq!(app.public_room(&room).await.status, 200);
    assert_eq!(app.delete_room(&room).await.status, 204);
    assert!(app.pexip.room(&room).is_none());
    eventually("the room is replaced", async || app.pexip.rooms().len() == 4).await;
    let yesterday = "ready-until=2024-01-15T09:00:00Z";
    app.pexip.insert(maxconf_simulators::StoredRoom::named(OURS).described(yesterday));
    app.maintain().await;
    time_between_readings_passes().await;
    eventually("the old room is swept", async || {
        app.maintain().await;
        app.pexip.room(OURS).is_none()
    })
    .await;

    assert_eq!(app.token_fetches(), 1);
    let has_token = |call: &Exchange| call.headers["authorization"].to_str().is_ok_and(|it| it.starts_with("Bearer "));
    assert!(app.pexip.traffic().log().iter().all(|call| call.path == "/oauth/token/" || has_token(call)));
}

#[tokio::test]
async fn calls_at_the_start_share_one_fetch() {
    let app = without_pool().start().await;
    let _time = stop_time();
    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Stall);
    let heal = async {
        eventually("a token is asked for", async || app.token_fetches() == 1).await;
        for _ in 0..20 {
            app.send(app.request(Method::GET, "health/live")).await;
        }
        app.pexip.traffic().heal();
    };

    tokio::join!(join_all((0..8).map(|_| app.one_call_succeeds())), heal);

    assert_eq!((app.token_fetches(), app.pexip_calls().len()), (1, 8));
}

/// What makes Pexip receive a call of each method.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Read,
    CreateDirect,
    Tag,
    Delete,
    Disconnect,
}

impl Cause {
    fn call(self) -> Matching {
        match self {
            Self::Read => Call::PexipLookUp.matching(),
            Self::CreateDirect => Call::PexipCreate.matching(),
            Self::Tag => Call::PexipTag.matching(),
            Self::Delete => Call::PexipDelete.matching(),
            Self::Disconnect => Matching::method(Method::POST).path_contains("/disconnect/"),
        }
    }

    async fn start(self) -> (TestApp, String) {
        let pool = if matches!(self, Self::Tag) { 4 } else { 0 };
        let app = TestApp::with().oauth2().set("POOL_TARGET_SIZE", pool).start().await;
        if pool > 0 {
            app.warm_up().await;
        }
        let room = match self {
            Self::Read | Self::Delete | Self::Disconnect => app.create_room().await.room(),
            Self::CreateDirect | Self::Tag => String::new(),
        };
        app.one_call_succeeds().await;
        if matches!(self, Self::Disconnect) {
            app.pexip.join(&room, maxconf_simulators::pexip::Role::Guest);
        }
        (app, room)
    }

    /// Returns the status of the caller's answer.
    async fn happen(self, app: &TestApp, room: &str) -> u16 {
        let answer = match self {
            Self::Read => app.public_room(room).await,
            Self::CreateDirect | Self::Tag => app.create_room().await,
            Self::Delete | Self::Disconnect => app.delete_room(room).await,
        };
        answer.status.as_u16()
    }
}

const CAUSES: [Cause; 5] = [Cause::Read, Cause::CreateDirect, Cause::Tag, Cause::Delete, Cause::Disconnect];

#[tokio::test]
async fn a_call_of_any_method_is_repeated_once_with_a_new_token_after_a_401() {
    for cause in CAUSES {
        let (app, room) = cause.start().await;
        app.pexip.traffic().clear();
        app.pexip.traffic().inject(cause.call(), Times::Once, Fault::Status(401));

        let status = cause.happen(&app, &room).await;

        assert!([200, 204].contains(&status), "{cause:?}: {status}");
        let calls = app.pexip.traffic().log();
        let refused = calls.iter().find(|call| call.status == Some(401)).expect("the 401");
        let same = |call: &&Exchange| (&call.method, &call.path) == (&refused.method, &refused.path);
        let repeated = calls.iter().find(|call| same(call) && call.status != Some(401)).expect("the repetition");
        assert!(repeated.at > refused.at, "{cause:?}");
        assert_ne!(repeated.headers["authorization"], refused.headers["authorization"], "{cause:?}");
        assert_eq!(app.token_fetches(), 1, "{cause:?}: {calls:?}");
    }
}

#[tokio::test]
async fn a_revoked_token_costs_no_request_of_any_method() {
    for cause in [Cause::Read, Cause::CreateDirect, Cause::Tag, Cause::Delete] {
        let (app, room) = cause.start().await;
        let rooms = app.pexip.rooms().len();
        app.pexip.revoke_oauth2_tokens();

        let status = cause.happen(&app, &room).await;

        assert!([200, 204].contains(&status), "{cause:?}: {status}");
        let expected = match cause {
            Cause::CreateDirect => rooms + 1,
            Cause::Delete => rooms - 1,
            _ => rooms,
        };
        eventually("the rooms are those expected", async || app.pexip.rooms().len() == expected).await;
        assert_eq!(app.pexip.oauth2_tokens_issued(), 2, "{cause:?}");
    }
}

#[tokio::test]
async fn a_401_that_stands_after_a_new_token_is_a_refusal_and_repeated_no_further() {
    let app = without_pool().start().await;
    let _time = stop_time();
    app.one_call_succeeds().await;
    app.pexip.traffic().clear();
    app.pexip.traffic().inject(Call::PexipLookUp.matching(), Times::Always, Fault::Status(401));

    app.one_call_fails(502, "pexip_refused").await;
    assert_eq!((app.pexip_calls().len(), app.token_fetches()), (2, 1));

    // Other tokens do not help, so for a while none is fetched.
    app.one_call_fails(502, "pexip_refused").await;
    assert_eq!((app.pexip_calls().len(), app.token_fetches()), (3, 1));
    time_passes(5 * SECOND).await;
    app.one_call_fails(502, "pexip_refused").await;
    assert_eq!((app.pexip_calls().len(), app.token_fetches()), (5, 2));
}

#[tokio::test]
async fn a_call_that_the_client_may_not_make_does_not_stop_the_others() {
    let app = without_pool().start().await;
    let _time = stop_time();
    app.pexip.traffic().inject(Call::PexipRunning.matching(), Times::Always, Fault::Status(401));
    for _ in 0..4 {
        let room = app.create_room().await.room();
        assert_eq!(
            app.delete_room(&room).await.status,
            204,
            "the conference is not disconnected, but the room is gone"
        );
    }
    assert_eq!(app.token_fetches(), 2, "at the start, and once for the refused call");
}

#[tokio::test]
async fn concurrent_401s_fetch_one_token() {
    // Of which agents' reads have eight.
    let app = without_pool().set("PEXIP_MAX_IN_FLIGHT", 17).start().await;
    let _time = stop_time();
    app.one_call_succeeds().await;
    app.pexip.traffic().clear();
    app.pexip.revoke_oauth2_tokens();
    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Stall);
    let heal = async {
        let refused = async || app.pexip_calls().iter().filter(|(_, status)| *status == Some(401)).count();
        eventually("all are refused", async || refused().await == 8).await;
        eventually("a token is asked for", async || app.token_fetches() == 1).await;
        app.pexip.traffic().heal();
    };

    tokio::join!(join_all((0..8).map(|_| app.one_call_succeeds())), heal);

    assert_eq!((app.token_fetches(), app.pexip_calls().len()), (1, 16));
}

#[tokio::test]
async fn a_401_to_an_older_token_is_repeated_with_the_current_one_without_a_fetch() {
    let app = without_pool().start().await;
    app.one_call_succeeds().await;
    let late = "vbv-01jd5p3xk8qqqqqqqqqqqqqq99";
    let to_late = Matching::method(Method::GET).query_contains(late);
    app.pexip.traffic().inject(to_late.clone(), Times::Once, Fault::Stall);
    let meanwhile = async {
        eventually("the late call is on its way", async || app.pexip.traffic().count(&to_late) == 1).await;
        app.pexip.revoke_oauth2_tokens();
        app.one_call_succeeds().await;
        assert_eq!(app.token_fetches(), 2);
        app.pexip.traffic().heal();
    };

    let (answer, ()) = tokio::join!(app.public_room(late), meanwhile);

    answer.assert_problem(404, "room_not_found");
    let log = app.pexip.traffic().log();
    let statuses: Vec<_> = log.iter().filter(|call| call.query.contains(late)).map(|call| call.status).collect();
    assert_eq!((statuses, app.token_fetches()), (vec![Some(401), Some(200)], 2));
}

#[tokio::test]
async fn a_token_is_renewed_five_minutes_before_its_end_while_calls_go_on() {
    // Without a pool, whose prefetch pauses after a failed call: where the time stands, a create would wait for its end.
    let app = without_pool().set("PEXIP_MAX_IN_FLIGHT", 1).start().await;
    app.pexip.set_oauth2_token_lifetime(Duration::from_secs(1000));
    let _time = stop_time();
    app.one_call_succeeds().await;
    app.pexip.traffic().clear();
    time_passes(699 * SECOND).await;
    app.one_call_succeeds().await;
    assert_eq!(app.token_fetches(), 0, "more than five minutes are left");

    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Stall);
    time_passes(2 * SECOND).await;
    eventually("a token is asked for", async || app.token_fetches() == 1).await;
    assert_eq!(app.create_room().await.status, 200, "the current token is good");
    let with = app.pexip.traffic().log().last().expect("a call").headers["authorization"].clone();
    app.pexip.traffic().heal();
    eventually("the token is there", async || app.pexip.oauth2_tokens_issued() == 2).await;
    eventually("calls use it", async || {
        app.one_call_succeeds().await;
        app.pexip.traffic().log().last().expect("a call").headers["authorization"] != with
    })
    .await;
    assert!(app.pexip_calls().iter().all(|(_, status)| *status != Some(401)), "no call was refused");
}

#[tokio::test]
async fn a_token_that_lives_shorter_than_ten_minutes_is_renewed_at_half_of_its_life() {
    let app = without_pool().start().await;
    app.pexip.set_oauth2_token_lifetime(Duration::from_secs(60));
    let _time = stop_time();
    app.one_call_succeeds().await;
    for (passes, fetches) in [(29, 1), (2, 2), (27, 2), (4, 3)] {
        time_passes(passes * SECOND).await;
        eventually("the token is renewed in time", async || app.pexip.oauth2_tokens_issued() >= fetches).await;
        app.one_call_succeeds().await;
        assert_eq!(app.token_fetches(), fetches, "after another {passes} s");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_disturbs_no_call_and_is_tried_every_five_seconds() {
    let app = without_pool().start().await;
    app.pexip.set_oauth2_token_lifetime(Duration::from_secs(1000));
    app.one_call_succeeds().await;
    let _time = stop_time();
    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(500));
    time_passes(701 * SECOND).await;
    for fetches in 2..12 {
        eventually("a token is asked for", async || app.token_fetches() == fetches).await;
        app.one_call_succeeds().await;
        time_passes(4 * SECOND).await;
        app.one_call_succeeds().await;
        assert_eq!(app.token_fetches(), fetches);
        if fetches == 11 {
            // Before the next one is due: if that failed as well, the one after it would never be.
            app.pexip.traffic().heal();
        }
        time_passes(2 * SECOND).await;
    }
    eventually("the token is renewed", async || app.pexip.oauth2_tokens_issued() == 2).await;
    app.one_call_succeeds().await;
}

#[tokio::test]
async fn the_end_of_a_token_is_no_failure_of_pexip() {
    let app = TestApp::with().oauth2().set("POOL_LEASE_SECONDS", 3600).start().await;
    app.warm_up().await;
    let look_ups = || app.pexip.traffic().count(&Matching::any().query_contains("name__in"));
    let before = look_ups();
    let _time = stop_time();
    app.pexip.set_oauth2_token_lifetime(20 * SECOND);
    app.pexip.revoke_oauth2_tokens();
    for _ in 0..8 {
        app.one_call_succeeds().await;
        // By the node's clock alone, so that each token ends earlier than the service expects.
        app.pexip.advance(21 * SECOND);
    }
    assert_eq!((look_ups(), app.token_fetches()), (before, 9), "the prefetched room is not checked again");

    let answer = app.create_room().await;

    assert_eq!(answer.header("room-source"), "pool", "{answer:?}");
    assert_eq!(app.token_fetches(), 10);
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_asked_every_five_seconds_at_most() {
    for (fault, status, code) in [
        (Fault::Status(400), 502, "pexip_refused"),
        (Fault::Status(500), 503, "pexip_unavailable"),
        (Fault::HangUpBefore, 503, "pexip_unavailable"),
        (Fault::Rubbish, 502, "pexip_invalid"),
    ] {
        let app = without_pool().start().await;
        let _time = stop_time();
        app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, fault);
        for fetches in 1..4 {
            for _ in 0..4 {
                app.one_call_fails(status, code).await;
                assert_eq!(app.token_fetches(), fetches, "{code}");
            }
            time_passes(5 * SECOND).await;
        }
        assert_eq!(app.pexip_calls(), [], "without a token no call is made");
        app.pexip.traffic().heal();
        app.one_call_succeeds().await;
    }
}

#[tokio::test]
async fn a_token_endpoint_that_asks_for_time_is_not_asked_again_before() {
    for (asked, seconds) in [("31", 31), ("Fri, 31 Dec 9999 23:59:59 GMT", 60)] {
        let app = without_pool().start().await;
        let _time = stop_time();
        let headers = vec![("Retry-After".into(), asked.into())];
        let busy = Fault::StatusWith { status: 503, headers, body: String::new() };
        app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Once, busy);

        app.one_call_fails(503, "pexip_unavailable").await;
        time_passes((seconds - 1) * SECOND).await;
        let left_alone = app.public_room(OURS).await;
        left_alone.assert_problem(503, "pexip_unavailable");
        assert_eq!(app.token_fetches(), 1, "{asked}");
        time_passes(2 * SECOND).await;
        app.one_call_succeeds().await;
    }
}

#[tokio::test]
async fn no_room_is_claimed_without_a_token() {
    let app = TestApp::with().oauth2().set("POOL_LEASE_SECONDS", 3600).start().await;
    // It is renewed after 700 s, so no renewal is under way when the time passes.
    app.pexip.set_oauth2_token_lifetime(Duration::from_secs(1000));
    app.pexip.revoke_oauth2_tokens();
    app.warm_up().await;
    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(400));
    // Then the time goes on: where the prefetch has met the fault before the create comes, it pauses for a second.
    time_passes(1001 * SECOND).await;

    app.create_room().await.assert_problem(502, "pexip_refused");

    assert_eq!(app.queue.traffic().count(&Call::QueueClaim.matching()), 0);
    assert_eq!(app.pexip.rooms().len(), 4);
}

/// The room has been looked up with a token that ends before the claim.
#[tokio::test]
async fn no_room_is_claimed_after_the_end_of_the_token() {
    let service = TestApp::with().oauth2().set("POOL_PREFETCH", 0).set("POOL_LEASE_SECONDS", 3600);
    let app = service.set("PEXIP_REQUEST_TIMEOUT_SECONDS", 24).start().await;
    app.fill_pool().await;
    app.pexip.revoke_oauth2_tokens();
    // The node accepts it for longer than it says, so the look-up succeeds however busy the machine is.
    let token = app.pexip.issue_oauth2_token(Duration::from_secs(3600));
    let body = format!(r#"{{"access_token": "{token}", "expires_in": 10, "token_type": "Bearer"}}"#);
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let short = Fault::StatusWith { status: 200, headers, body };
    app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Once, short);
    let _time = stop_time();
    app.one_call_succeeds().await;
    let look_ups = Matching::any().query_contains("name__in");
    app.pexip.traffic().inject(look_ups.clone(), Times::Once, Fault::Stall);
    let meanwhile = async {
        eventually("a room is looked up", async || app.pexip.traffic().count(&look_ups) == 1).await;
        time_passes(11 * SECOND).await;
        app.pexip.traffic().heal();
        app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(400));
    };

    let (answer, ()) = tokio::join!(app.create_room(), meanwhile);

    answer.assert_problem(502, "pexip_refused");
    assert_eq!(app.queue.traffic().count(&Call::QueueClaim.matching()), 0);
    assert_eq!(app.pexip.rooms().len(), 4);
}

#[tokio::test]
async fn answers_that_hold_no_usable_token_are_invalid() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"access_token": "", "expires_in": 3600, "token_type": "Bearer"}"#,
        r#"{"access_token": "to\nken", "expires_in": 3600, "token_type": "Bearer"}"#,
        r#"{"access_token": 7, "expires_in": 3600, "token_type": "Bearer"}"#,
        r#"{"access_token": "token", "expires_in": 0, "token_type": "Bearer"}"#,
        r#"{"access_token": "token", "expires_in": -1, "token_type": "Bearer"}"#,
        r#"{"access_token": "token", "expires_in": 3600, "token_type": "mac"}"#,
        r#"{"access_token": "token", "token_type": "Bearer"}"#,
    ] {
        let app = without_pool().start().await;
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::StatusWith { status: 200, headers, body: body.to_owned() };
        app.pexip.traffic().inject(Call::PexipToken.matching(), Times::Once, fault);
        let answer = app.public_room(OURS).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (502, Some("pexip_invalid")), "{body}");
        assert_eq!(app.pexip_calls(), [], "{body}");
    }
}

#[tokio::test]
async fn a_token_with_the_longest_lifetime_that_fits_is_accepted() {
    let app = without_pool().start().await;
    app.pexip.set_oauth2_token_lifetime(Duration::from_secs(3600));
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let body = format!(r#"{{"access_token": "token", "expires_in": {}, "token_type": "bearer"}}"#, u64::MAX);
    app.pexip.traffic().inject(
        Call::PexipToken.matching(),
        Times::Once,
        Fault::StatusWith { status: 200, headers, body },
    );
    app.one_call_succeeds().await;
    assert_eq!(app.token_fetches(), 2, "the node does not know the first one");
}

#[tokio::test]
async fn token_fetches_and_repetitions_are_counted_in_the_request_budget() {
    let app = without_pool().set("PEXIP_REQUESTS_PER_MINUTE", 6).start().await;
    let _time = stop_time();
    app.one_call_succeeds().await;
    app.pexip.revoke_oauth2_tokens();
    app.one_call_succeeds().await;
    assert_eq!(app.pexip.traffic().log().len(), 5, "token, call; refused call, token, call");
    app.one_call_succeeds().await;
    app.one_call_fails(503, "pexip_unavailable").await;
    assert_eq!(app.pexip.traffic().log().len(), 6);
}

#[tokio::test]
async fn clocks_may_differ_by_half_a_minute_ahead_and_minutes_behind() {
    for (seconds, is_accepted) in [(-290_i64, true), (-310, false), (25, true), (35, false)] {
        let now = move || {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
        };
        let app = without_pool().clock(now).start().await;
        // Entra's and Genesys' tokens have leeways of their own.
        let status = app.public_room(OURS).await.status.as_u16();
        assert_eq!(status, if is_accepted { 404 } else { 502 }, "{seconds} s ahead");
    }
}

#[tokio::test]
async fn a_new_key_or_another_client_needs_new_settings() {
    let app = without_pool().start().await;
    app.one_call_succeeds().await;
    app.pexip.remove_oauth2_client(maxconf_simulators::world::OAUTH2_CLIENT);
    app.one_call_succeeds().await;
    assert_eq!(app.token_fetches(), 1, "tokens outlive their client");
    app.pexip.add_oauth2_client(maxconf_simulators::world::OAUTH2_CLIENT);
    app.pexip.revoke_oauth2_tokens();
    app.one_call_fails(502, "pexip_refused").await;
}
