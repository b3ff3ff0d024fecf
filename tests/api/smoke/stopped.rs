//! A test that is stopped on its way forgets no room.

use std::time::Duration;

use maxconf_simulators::{Fault, Times};

use reqwest::Method;

use super::proxy::Proxy;
use super::{Smoke, handed_out, healthy_service};
use crate::support::{Call, eventually};

#[tokio::test]
async fn a_stop_deletes_what_was_made() {
    let slow = Fault::Slow(Duration::from_secs(1));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // While the room's name is on its way, and while it is looked at.
        for call in [Call::PexipTag, Call::GenesysUser] {
            let app = healthy_service().await;
            call.traffic(&app).inject(call.matching(), Times::Always, slow.clone());
            // Behind a host the service does not notice that its caller has gone, and does not burn the room.
            let host = Proxy::tampering(&app, |_, _| {}).await;
            let smoke = Smoke::of(&app).at(host.url());
            let program = smoke.start();
            eventually("the call", async || call.traffic(&app).count(&call.matching()) > 0).await;

            program.signal(signal);
            let ended = program.ended().await;

            assert_eq!(ended.code, Some(code), "{signal} at {call:?}: {ended:#?}");
            assert_eq!(ended.stderr, ["maxconf: stopped; no room of this test is left behind"], "{signal} at {call:?}");
            assert!(ended.stdout.is_empty(), "{ended:#?}");
            smoke.assert_tells_no_secret(&ended);
            let tags = || app.pexip.traffic().log().into_iter().filter(|call| call.method == Method::PATCH);
            eventually("every tag is written", async || tags().all(|call| call.status.is_some())).await;
            assert!(tags().count() > 0, "a room was handed out");
            assert_eq!(handed_out(&app), Vec::<String>::new(), "{signal} at {call:?}");
        }
    }
}

#[tokio::test]
async fn a_stop_while_waiting_for_the_version_ends_at_once() {
    let app = healthy_service().await;
    let mut smoke = Smoke::of(&app);
    smoke.arguments = ["--wait", "600", "--expect-version", "0.0.0"].map(str::to_owned).into();
    let program = smoke.start();
    eventually("it says what it waits for", async || !program.stderr().is_empty()).await;

    program.signal("TERM");
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(143), "{ended:#?}");
}
