//! What a token causes whose `kid` no read of Entra's keys has listed, and how it is answered.

use std::time::Duration;

use futures_util::future::join_all;
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::json;

use crate::entra_keys::{
    V2_KEYS, assert_unavailable, changed, hour_passes, key_set, of_a_stranger, stranger_key, with_short_gate,
};
use crate::support::{
    Answer, IDIM_ROUTES, TestApp, assert_token_invalid, eventually, stop_time, time_passes, v1_key_fetches,
    v2_key_fetches, within,
};

/// The key is not listed yet; the next read is after so many seconds.
#[track_caller]
fn assert_not_yet_listed(answer: &Answer, seconds: &str) {
    assert_unavailable(answer);
    assert_eq!(answer.header("retry-after"), seconds, "{answer:?}");
}

#[tokio::test]
async fn a_new_key_is_looked_up_at_once_and_the_old_one_stays() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let old = app.entra.token().build();
    app.entra.rotate_key();

    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 2);
    assert_eq!(v1_key_fetches(&app.entra), 1);
    assert_eq!(app.create_with(&app.entra.token().v1().build()).await.status, 200);
    assert_eq!(app.create_with(&old).await.status, 200);
    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (2, 2));
}

#[tokio::test]
async fn the_first_request_of_a_fresh_instance_leaves_the_look_up_to_an_unknown_kid() {
    // Timers are late by up to a millisecond; here the request always comes first.
    let _time = stop_time();
    let app = TestApp::without_pool().await;
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    app.entra.rotate_key();
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 2);
}

#[tokio::test]
async fn a_scheduled_refresh_leaves_the_look_up_to_an_unknown_kid() {
    let app = TestApp::without_pool().await;
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    hour_passes().await;
    app.entra.rotate_key();
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 3);
}

#[tokio::test]
async fn a_key_asked_for_before_entra_lists_it_is_looked_up_again_after_half_a_minute() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    let listed = key_set(&[app.entra.jwk_json(&app.entra.keys()[0])]);
    app.entra.rotate_key();
    let early = app.entra.token().build();
    app.entra.publish_raw_jwks(Some(listed));
    assert_not_yet_listed(&app.create_with(&early).await, "30");
    app.entra.publish_raw_jwks(None);
    assert_not_yet_listed(&app.create_with(&early).await, "30");
    time_passes(Duration::from_secs(29)).await;
    assert_not_yet_listed(&app.create_with(&early).await, "1");
    assert_eq!(v2_key_fetches(&app.entra), 2);
    time_passes(Duration::from_secs(1)).await;
    assert_eq!(app.create_with(&early).await.status, 200);
    assert_eq!(v2_key_fetches(&app.entra), 3);
}

#[tokio::test]
async fn a_kid_that_the_repeated_read_lacks_is_invalid_until_the_interval_is_over() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    let stranger = of_a_stranger(&app.entra, 0);
    assert_not_yet_listed(&app.create_with(&stranger).await, "30");
    for (passes, fetches) in [(30, 3), (31, 3), (120, 3), (118, 3), (1, 4), (60, 4)] {
        time_passes(Duration::from_secs(passes)).await;
        assert_token_invalid(&app.create_with(&stranger).await);
        assert_eq!(v2_key_fetches(&app.entra), fetches, "after another {passes} s");
    }
    // Listed after all, it is found by the next read, when the interval is over again.
    let set = [
        app.entra.jwk_json(&app.entra.keys()[0]),
        changed(app.entra.jwk_json(&stranger_key()), "kid", json!("made-up-0")),
    ];
    app.entra.publish_raw_jwks(Some(key_set(&set)));
    time_passes(Duration::from_secs(240)).await;
    assert_eq!(app.create_with(&stranger).await.status, 200);
}

#[tokio::test]
async fn a_kid_not_confirmed_as_unknown_is_unavailable_while_fewer_than_ten_come_in_a_minute() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    for number in 0..9 {
        for _ in 0..3 {
            assert_not_yet_listed(&app.create_with(&of_a_stranger(&app.entra, number)).await, "30");
        }
    }
    for number in 9..60 {
        assert_token_invalid(&app.create_with(&of_a_stranger(&app.entra, number)).await);
    }
    time_passes(Duration::from_secs(61)).await;
    // A read is due now only for a kid that was asked for before.
    assert_not_yet_listed(&app.create_with(&of_a_stranger(&app.entra, 100)).await, "30");
    assert_eq!(v2_key_fetches(&app.entra), 2);
}

#[tokio::test]
async fn a_flood_of_made_up_kids_fetches_the_keys_once() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    let kids = ["../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/keys", "\u{0}", "{tenantid}"];
    for (number, kid) in kids.into_iter().enumerate() {
        let token = app.entra.token().header("kid", kid).build();
        assert_unavailable(&app.ask_idim(&IDIM_ROUTES[number % 2], format!("Bearer {token}")).await);
    }
    let flood = (0..40).map(|number| {
        let token = of_a_stranger(&app.entra, number);
        app.request(Method::POST, "room/create?uuiData=31").bearer_auth(token).send()
    });
    let mut invalid = 0;
    for answer in within("the flood is answered", join_all(flood)).await {
        let answer = Answer::read(answer.expect("an answer")).await;
        if answer.status == 401 {
            assert_token_invalid(&answer);
            invalid += 1;
        } else {
            assert_unavailable(&answer);
        }
    }
    assert_eq!(invalid, 36, "nine in all come before the flood is one");

    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 2));
    app.assert_no_outside_calls("made-up kids");
    let known = ["configuration", "keys"];
    for exchange in app.entra.traffic().log() {
        assert!(known.iter().any(|end| exchange.path.ends_with(end)) && exchange.query.is_empty(), "{exchange:?}");
    }
    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);
}

#[tokio::test]
async fn floods_of_made_up_kids_fetch_the_keys_once_per_interval_new_or_repeated() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    for round in 0..20 {
        for number in 0..12 {
            app.create_with(&of_a_stranger(&app.entra, number)).await;
            app.create_with(&of_a_stranger(&app.entra, 100 * (round + 1) + number)).await;
        }
        assert_eq!(v2_key_fetches(&app.entra), if round < 10 { 2 } else { 3 }, "round {round}");
        time_passes(Duration::from_secs(30)).await;
    }
}

#[tokio::test]
async fn made_up_kids_that_do_not_come_again_fetch_the_keys_once_per_interval() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    for number in 0..30 {
        assert_unavailable(&app.create_with(&of_a_stranger(&app.entra, number)).await);
        assert_eq!(v2_key_fetches(&app.entra), 2 + number / 15, "kid {number}");
        time_passes(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn look_ups_of_unknown_kids_do_not_put_off_the_scheduled_refresh() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    for number in 0..7 {
        assert_unavailable(&app.create_with(&of_a_stranger(&app.entra, number)).await);
        time_passes(Duration::from_secs(600)).await;
    }
    // At start, seven times for a stranger, and once because an hour is over.
    eventually("the scheduled refresh", async || v2_key_fetches(&app.entra) == 9).await;
}

#[tokio::test]
async fn a_failing_entra_is_not_asked_again_for_every_made_up_kid() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    app.entra.traffic().inject(Matching::any().path_contains(V2_KEYS), Times::Always, Fault::Status(500));
    // The pauses between tries double, from one second, and vary by a fifth.
    for (passes, fetches) in [(0, 2), (700, 2), (600, 3), (1500, 3), (1000, 4)] {
        time_passes(Duration::from_millis(passes)).await;
        for number in 0..20 {
            let answer = app.create_with(&of_a_stranger(&app.entra, number)).await;
            assert!([401, 503].contains(&answer.status.as_u16()), "{answer:?}");
        }
        assert_eq!(v2_key_fetches(&app.entra), fetches, "after another {passes} ms");
    }
}

#[tokio::test]
async fn after_the_interval_the_next_made_up_kid_fetches_once_more() {
    let app = with_short_gate().start().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    for (passes, fetches) in [(0, 2), (999, 2), (1, 3)] {
        time_passes(Duration::from_millis(passes)).await;
        assert_not_yet_listed(&app.create_with(&of_a_stranger(&app.entra, fetches)).await, "1");
        assert_eq!(v2_key_fetches(&app.entra), fetches, "after another {passes} ms");
    }
}

#[tokio::test]
async fn made_up_kids_do_not_block_known_keys_while_entra_is_slow() {
    let app = with_short_gate().set("MAX_CONCURRENT_REQUESTS", 100).start().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    app.entra.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let asked = app.entra.traffic().log().len();
    let come = |number| {
        let stranger = app.request(Method::POST, "room/create").bearer_auth(of_a_stranger(&app.entra, number));
        tokio::spawn(stranger.send())
    };
    let mut flood = vec![come(0)];
    // Or 64 could wait before the first one is taken from among them.
    eventually("the first is looked up", async || app.entra.traffic().log().len() > asked).await;
    flood.extend((1..100).map(come));
    let answered = || flood.iter().filter(|request| request.is_finished()).count();
    // One is looked up and 64 wait for that.
    eventually("the others are refused", async || answered() == 35).await;

    assert_eq!(app.create_with(&app.entra.token().build()).await.status, 200);

    app.entra.traffic().heal();
    let answers = within("the flood is answered", join_all(flood)).await;
    let statuses = answers.into_iter().map(|answer| answer.expect("no panic").expect("an answer").status().as_u16());
    let (refused, unavailable): (Vec<_>, Vec<_>) = statuses.partition(|status| *status == 401);
    assert!(unavailable.iter().all(|status| *status == 503) && unavailable.len() < 10, "{refused:?} {unavailable:?}");
}

#[tokio::test]
async fn many_requests_that_wait_for_one_new_key_are_no_flood() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let _time = stop_time();
    app.entra.rotate_key();
    let token = app.entra.token().build();
    app.entra.traffic().inject(Matching::any(), Times::Always, Fault::Stall);
    let asked = app.entra.traffic().log().len();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let request = app.request(Method::POST, "room/create?uuiData=3");
            tokio::spawn(request.bearer_auth(&token).send())
        })
        .collect();
    eventually("the look-up is on its way", async || app.entra.traffic().log().len() > asked).await;
    for _ in 0..20 {
        app.send(app.request(Method::GET, "health/live")).await;
    }
    app.entra.traffic().heal();
    for answer in within("all are answered", join_all(waiting)).await {
        // The token is valid; the case is not.
        assert_eq!(answer.expect("no panic").expect("an answer").status(), 400);
    }
    assert_eq!(v2_key_fetches(&app.entra), 2);
}
